"""Measures how often a model is right on labelled pictures, sounds, rows and texts, and compares two models."""
