"""Child processes: starting, watching, restarting and ending them, their output, and orphans."""
