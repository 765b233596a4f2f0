"""What a probe's parent and child say to each other, one JSON line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_infer.codec import Text
from edge_infer.errors import ModelKey
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolution import Resolution, Words


@dataclass(frozen=True, slots=True)
class Order:
    """Try this model within ``seconds``; a copy goes into ``store`` where one is named."""

    request: ModelRequest
    store: Annotated[str, Text(most=4096)] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The resolution, or why there is none: an ``error`` of the model (its ``key``), or of this ``machine``.

    ``tried`` as in `ModelError`.
    """

    resolution: Resolution | None = None
    error: Words = ""
    key: ModelKey = "file"
    machine: bool = False
    tried: bool = False
