"""The self-audit of "raw data never leaves": it feeds in a known pattern and searches all output for it."""
