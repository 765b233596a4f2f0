"""Benchmark of a model alone, and of the whole pipeline from a frame to the result for a subscriber."""
