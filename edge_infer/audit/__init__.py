"""Self-audit of the claim that raw data never leaves the device: feeds in a known pattern and searches all output."""
