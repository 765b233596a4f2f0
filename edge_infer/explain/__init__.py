"""Explains one answer of a model: which part of its input carried it."""
