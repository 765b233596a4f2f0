"""Captured items: pictures, signals and lines of text, with their time and their geometry."""
