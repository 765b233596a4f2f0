"""What a process that tries a model and the one that started it say to each other, one JSON line each.

The child says that it is ready, or why nothing can be tried on this machine, before it has seen anything of the model:
what it says afterwards may be the model's own word.
"""

from __future__ import annotations

from typing import Annotated, Final

from edge_infer.codec import Record, at_most, between
from edge_infer.errors import ModelKey
from edge_infer.models.request import AbsolutePath, ModelRequest
from edge_infer.models.resolution import Resolution, Words

MAX_FILES: Final = 240
"""Open files that may go with one question; the kernel takes 253."""

Paths = Annotated[tuple[AbsolutePath, ...], at_most(MAX_FILES)]
Seconds = Annotated[float, between(0, 1e6)]


class Ready(Record, frozen=True):
    """The child has loaded what it needs: the name of its ``runtime``, or the ``error`` where none works here."""

    runtime: Annotated[str, at_most(64)] = ""
    error: Words = ""


class Order(Record, frozen=True):
    """Try this model within ``seconds``; ``paths`` are those of the files that come with it, open, in this order."""

    request: ModelRequest
    file: AbsolutePath
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds


class Answer(Record, frozen=True):
    """The resolution, or the ``error`` of the model (its ``key``); ``tried`` as in `ModelError`."""

    resolution: Resolution | None = None
    error: Words = ""
    key: ModelKey = "file"
    tried: bool = False
