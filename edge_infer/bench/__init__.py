"""Benchmark of a model by itself, and of the whole pipeline from a frame to the result for a subscriber."""
