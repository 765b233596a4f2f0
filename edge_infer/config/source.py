"""Keys that every kind of source has."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from edge_infer.config.fields import choice, number
from edge_infer.config.plan import Flip, Rotation
from edge_infer.config.section import Section


class SourceSection(Section):
    """Base of all kinds of sources."""

    pipes: ClassVar[bool] = False
    """Whether ``file`` may also be a named pipe, or ``-`` for standard input."""

    fps: Annotated[float | None, number(0.001, 1000), Field(examples=[15])] = None
    """The most frames (windows, lines) a second into each pipeline; frames in between are skipped, and not counted.
    Without it as many as the source gives."""
    rotate: Annotated[Rotation, choice(0, 90, 180, 270)] = 0
    """Turn every picture clockwise by these degrees; for cameras, clips and pictures only."""
    flip: Annotated[Flip | None, choice("horizontal", "vertical"), Field(examples=["horizontal"])] = None
    """Mirror every picture after its rotation: `horizontal` swaps left and right."""
