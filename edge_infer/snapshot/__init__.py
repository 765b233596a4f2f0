"""One picture of a configured source, as a background for drawing masks and zones."""
