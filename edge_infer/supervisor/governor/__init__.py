"""The governor: lowers frame rates to protect the board."""
