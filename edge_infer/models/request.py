"""What a configuration or a command line says about a model, before anybody has opened the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_infer.codec import Text
from edge_infer.messages import Task

AbsolutePath = Annotated[str, Text(most=4096)]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model to be resolved. Paths are absolute; whatever is given here wins over the manifest.

    ``labels`` and ``labels_file`` exclude each other; ``sha256`` is the only digest that is accepted.
    """

    name: str
    file: AbsolutePath
    labels: tuple[str, ...] | None = None
    labels_file: AbsolutePath | None = None
    sha256: str | None = None
    threshold: float | None = None
    task: Task | None = None
    decoder: str | None = None
