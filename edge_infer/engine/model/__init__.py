"""The model of a pipeline: load, inputs, inference, probation, replacement, shadow."""
