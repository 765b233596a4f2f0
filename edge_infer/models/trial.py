"""A model on trial: it has to load, run, find what its manifest promises, and keep to its budget."""

from __future__ import annotations

from pathlib import Path

from edge_infer.models.request import ModelRequest
from edge_infer.models.resolution import Resolution
from edge_infer.models.resolve import examine


def try_model(request: ModelRequest, store: Path | None) -> Resolution:
    """The resolution of a model that works here; raises `ModelError`, and `StartError` where none can work."""
    return examine(request, store)
