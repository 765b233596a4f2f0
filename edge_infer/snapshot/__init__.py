"""One picture of a configured source, to draw masks and zones in."""
