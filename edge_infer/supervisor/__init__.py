"""The room that starts, watches and restarts the others; it has neither frames nor the broker."""
