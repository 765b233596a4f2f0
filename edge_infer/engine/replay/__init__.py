"""Replays of recordings, and pictures with findings drawn in."""
