"""The local page: a process that shows a browser what the daemon tells it, over a Unix socket.

It has no frames, files or network of its own, and uses only Python's standard library and the sandbox.
"""
