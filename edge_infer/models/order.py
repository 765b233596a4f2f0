"""Messages between a probe process and its parent, one JSON line each.

The child reports that it is ready, or why no model can be tried on this machine, before it reads any part of the model.
Later messages are untrusted, because the model may have taken over the process.
"""

from __future__ import annotations

from typing import Annotated, Final

from edge_infer.codec import Record, at_most, between
from edge_infer.errors import ModelKey
from edge_infer.models.request import AbsolutePath, ModelRequest
from edge_infer.models.resolution import Resolution, Words

MAX_FILES: Final = 240
"""Maximum number of open files that go with one question; the kernel takes 253."""

Paths = Annotated[tuple[AbsolutePath, ...], at_most(MAX_FILES)]
Seconds = Annotated[float, between(0, 1e6)]


class Ready(Record, frozen=True):
    """The child is ready: the name of its ``runtime``, or the ``error`` if no runtime works here."""

    runtime: Annotated[str, at_most(64)] = ""
    error: Words = ""


class Order(Record, frozen=True):
    """Request to try a model within ``seconds``; ``paths`` name the open files that come with it, in the same order."""

    request: ModelRequest
    file: AbsolutePath
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds


class Answer(Record, frozen=True):
    """The resolution, or the ``error`` with its ``key`` in the configuration; ``tried`` as in `ModelError`."""

    resolution: Resolution | None = None
    error: Words = ""
    key: ModelKey = "file"
    tried: bool = False
