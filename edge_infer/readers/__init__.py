"""Readers: each is a small process that owns the device of one source. Killing a reader does not affect the others."""
