"""The self-audit of "raw data never leaves": a known pattern goes in, all that comes out is searched for it."""
