"""Readers: one small process for each source. It owns the device and can be killed without harm to the others."""
