"""The supervisor: the process that starts, watches and restarts the others. It has neither frames nor the broker."""
