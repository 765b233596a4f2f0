"""Readers: one small process for each source, which owns its device and can be killed."""
