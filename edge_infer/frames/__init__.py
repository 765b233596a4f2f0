"""Captured items: pictures, signals and lines of text, with their times and geometry."""
