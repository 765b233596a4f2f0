"""From boxes and scores to what is said about a frame."""
