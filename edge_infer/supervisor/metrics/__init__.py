"""Metrics of the daemon for Prometheus: collected by the supervisor, written into a file, and printed by a command."""
