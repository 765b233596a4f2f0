"""What a process that tries a model and the one that started it say to each other, one JSON line each.

The child says that it is ready, or why nothing can be tried on this machine, before it has seen anything of the model:
what it says afterwards may be the model's own word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from edge_infer.codec import Range, Size, Text
from edge_infer.errors import ModelKey
from edge_infer.models.request import AbsolutePath, ModelRequest
from edge_infer.models.resolution import Resolution, Words

MAX_FILES: Final = 240
"""Open files that may go with one question; the kernel takes 253."""

Paths = Annotated[tuple[AbsolutePath, ...], Size(MAX_FILES)]
Seconds = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has loaded what it needs: the name of its ``runtime``, or the ``error`` where none works here."""

    runtime: Annotated[str, Text(most=64)] = ""
    error: Words = ""


@dataclass(frozen=True, slots=True)
class Order:
    """Try this model within ``seconds``; ``paths`` are those of the files that come with it, open, in this order."""

    request: ModelRequest
    file: AbsolutePath
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """The resolution, or the ``error`` of the model (its ``key``); ``tried`` as in `ModelError`."""

    resolution: Resolution | None = None
    error: Words = ""
    key: ModelKey = "file"
    tried: bool = False
