"""An examination of the board: what it offers the daemon and what it lacks, tried rather than believed."""
