"""The local page: a process that shows the daemon's reports to a browser, over a Unix socket.

It has no access to frames, other files or the network, and uses only Python's standard library and the sandbox.
"""
