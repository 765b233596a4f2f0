"""The model of a pipeline: loading, input tensors, runs, probation, replacement, and comparison with a shadow model."""
