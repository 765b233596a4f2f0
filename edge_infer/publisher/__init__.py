"""The publisher process: it has network access and never receives a frame."""
