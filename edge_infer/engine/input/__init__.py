"""From a source to the next frame of a pipeline: capture, shared memory, the newest frame, prefetch."""
