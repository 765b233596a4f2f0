"""Replays of recordings, and pictures in which findings are drawn."""
