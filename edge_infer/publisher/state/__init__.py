"""Retained topics, states of pipelines, and open events, which outlive restarts of processes."""
