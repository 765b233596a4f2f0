"""Trials of models in child processes: probe, outputs, budget, threads, delegates, fast path."""
