"""Drift: notices when a camera is not as it was, or when a model answers in another way than before."""
