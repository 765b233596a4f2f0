"""Drift detection: compares a camera's pictures and a model's findings with a reference learned before."""
