"""Retained topics, states of pipelines, and open events, over restarts of processes."""
