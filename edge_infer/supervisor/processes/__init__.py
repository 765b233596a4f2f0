"""Child processes: start, watch, restart, kill; their output, and their orphans."""
