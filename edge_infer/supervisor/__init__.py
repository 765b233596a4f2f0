"""The supervisor: the process that starts, watches and restarts the other processes.

It receives no frames and does not connect to the broker.
"""
