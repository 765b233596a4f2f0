"""Frames in memory of the kind that a model takes: pictures, blocks of a signal, lines of text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.signal import MIXED
from edge_infer.frames.frame import Captured, Frame, Line, Pixels, Samples
from edge_infer.plan.records import Gives, SourcePlan
from edge_infer.readers.sources import Picture, make_source, source_target

MEMORY: Final = "memory"
MANY: Final = 8
"""Number of different frames: too many for a cache, and no two consecutive frames are equal."""
WORDS: Final = "the quick brown fox jumps over the lazy dog and runs into the dark green forest"


def make_frames(model: LoadedModel, size: tuple[int, int]) -> list[Captured]:
    """Return pictures of width and height ``size``, lines of text, or blocks that each complete one more window."""
    random = np.random.default_rng(0)
    if model.taken.takes == "image":
        width, height = size
        return [Frame(_picture(random, width, height), "bgr", 0.0, 0.0, 1) for _ in range(MANY)]
    if model.taken.takes == "text":
        words = WORDS.split()
        return [Line(" ".join(random.permutation(words)), 0.0, 0.0, 1) for _ in range(MANY)]
    example = model.preprocess.example()
    assert isinstance(example, Samples)
    return [_stretch(random, model, example) for _ in range(MANY)]


def memory_plan(gives: Gives) -> SourcePlan:
    """Return the plan of the `Memory` source."""
    return SourcePlan(MEMORY, MEMORY, "", live=False, network=False, options={}, gives=gives, noisy=False)


def clip_plan(clip: Path) -> SourcePlan:
    """Return the plan of a source that plays a video file in a loop and drops no frame."""
    options: dict[str, JsonValue] = {"file": str(clip.absolute()), "loop": True, "realtime": False}
    return SourcePlan("clip", "video", source_target("video"), live=False, network=False, options=options)


def first_frames(clip: Path) -> list[Captured]:
    """Return some frames of a clip; raises `SourceError` if it cannot be read."""
    frames: list[Captured] = []
    with make_source(clip_plan(clip)) as source:
        while len(frames) < MANY and isinstance(picture := source.read(), Picture):
            frames.append(Frame(picture.pixels.copy(), picture.color, 0.0, 0.0, 1))
    return frames


class Memory:
    """A capture that offers the same frames repeatedly, as fast as the consumer takes them."""

    def __init__(self, frames: list[Captured]) -> None:
        self._frames = frames

    def interrupt(self) -> None:
        """Do nothing, because this capture never blocks for long."""

    def run(self, feed: Feed) -> None:
        """Offer frames until the feed is closed."""
        for _ in self.turns(feed):
            pass

    def turns(self, feed: Feed) -> Iterator[bool]:
        """Offer one frame per iteration."""
        feed.lossless = True
        for number in count(1):
            if feed.stopping:
                return
            frame = _now(self._frames[number % len(self._frames)], number)
            feed.offer(number, lambda frame=frame: frame)  # type: ignore[misc]
            yield True


def _now(frame: Captured, number: int) -> Captured:
    """Return a copy of the frame with the current time, built in the same way as in sources."""
    wall, monotonic = time.time(), time.monotonic()
    if isinstance(frame, Frame):
        return Frame(frame.pixels, frame.color, wall, monotonic, number)
    if isinstance(frame, Samples):
        return Samples(frame.values, frame.rate, wall, monotonic, number)
    return Line(frame.text, wall, monotonic, number)


def _picture(random: np.random.Generator, width: int, height: int) -> Pixels:
    """Return a picture with slow colour changes and a little noise, as from a camera."""
    coarse = random.integers(0, 256, (9, 16, 3)).astype(np.float32)
    rows, columns = np.linspace(0, 8, height), np.linspace(0, 15, width)
    smooth = coarse[rows.astype(int)][:, columns.astype(int)]
    pixels: Pixels = np.clip(smooth + random.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    return pixels


def _stretch(random: np.random.Generator, model: LoadedModel, example: Samples) -> Samples:
    """Return noise that is as long as one stride between windows, at the model's own rate."""
    rate = getattr(model.taken, "rate", None) or 1.0
    rows = max(1, round(float(getattr(model.preprocess, "stride", 1.0 / rate)) * rate))
    sound = getattr(model.taken, "features", "raw") in MIXED
    values = random.normal(0, 0.1, (rows, 1 if sound else example.values.shape[1]))
    return Samples(values.astype(np.float32), rate, 0.0, 0.0, 1)
