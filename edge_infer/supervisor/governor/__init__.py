"""Lower frame rates that protect the board."""
