"""The local page: a process that shows the daemon's reports to a browser, over a Unix socket.

It has no frames, files or network of its own, and uses only Python's standard library and the sandbox.
"""
