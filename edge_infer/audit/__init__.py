"""Self-audit of the claim that raw data never leaves: it feeds in a known pattern and searches all output for it."""
