"""Models written by hand whose answer depends on one known part of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.engine.summing import Entry, weighing_model

SIDE: Final = 96
"""Width and height in pixels of the model's input."""
CELLS: Final = 12 * 12 + 6 * 6 + 3 * 3
"""Cells of a YOLOv8 head for this input."""
BRIGHT: Final = 180
MANIFEST: Final = (
    "file: planted.tflite\nname: planted\nversion: 1.0.0\ndecoder: yolov8\nlabels: [thing]\nthreshold: 0.5\n"
)

Patch = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the input."""


def planted_detector(
    folder: Path, patch: Patch, box: Patch | None = None, gain: float = 0.9, offset: float = 0.0
) -> Path:
    """A detector that reports the ``box`` (without one the patch), with the brightness of the patch as its score.

    The score is ``offset`` in the dark, and changes by ``gain`` up to a patch that is as bright as `noise`.
    """
    left, top, right, bottom = patch
    weights = np.zeros((1, SIDE, SIDE, 3), np.float32)
    weights[:, top:bottom, left:right] = 1.0
    weights /= weights.mean() * BRIGHT / 255
    base, gains = np.zeros((1, 5, CELLS), np.float32), np.zeros((1, 5, CELLS), np.float32)
    xmin, ymin, xmax, ymax = (side / SIDE for side in box or patch)
    base[0, :4, 0] = ((xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin)
    base[0, 4, 0], gains[0, 4, 0] = offset, gain
    gains[0, 0, 1] = 0.1  # of a candidate without a score: a model whose outputs never change is refused as damaged
    path = folder / "planted.tflite"
    path.write_bytes(weighing_model(Entry("picture", (1, SIDE, SIDE, 3)), weights, base, gains))
    path.with_suffix(".yaml").write_text(MANIFEST)
    return path


RATE: Final = 16_000
TONE: Final = 1_500.0
SOUND: Final = """\
name: tone
version: 1.0.0
file: tone.tflite
decoder: {kind: classification, activation: none}
labels: [noise, tone]
input: {features: waveform, rate: 16000}
"""
MOVES: Final = """\
name: moves
version: 1.0.0
file: moves.tflite
decoder: {kind: classification, activation: none}
labels: [rest, move]
input: {features: raw, rate: 10, channels: 3}
"""


def tone(begin: float, seconds: float = 0.1) -> NDArray[np.float32]:
    """A second of silence, but for a tone."""
    times = np.arange(RATE) / RATE
    heard = (times >= begin) & (times < begin + seconds)
    return np.asarray(np.sin(2 * np.pi * TONE * times) * heard, np.float32)


def planted_listener(folder: Path, begin: float) -> Path:
    """A classifier of a second of sound, which finds the tone that `tone` makes at half its loudness."""
    weights = tone(begin)[None]
    weights /= (weights**2).mean() / 2
    return _classifier(folder / "tone.tflite", SOUND, weights)


def planted_mover(folder: Path, rows: slice, axis: int) -> Path:
    """A classifier of 24 samples of three axes, which looks at some samples of one axis alone."""
    weights = np.zeros((1, 24, 3), np.float32)
    weights[:, rows, axis] = 1.0
    return _classifier(folder / "moves.tflite", MOVES, weights / weights.mean())


def _classifier(path: Path, manifest: str, weights: NDArray[np.float32]) -> Path:
    base, gain = np.array([[0.9, 0.1]], np.float32), np.array([[-0.8, 0.8]], np.float32)
    path.write_bytes(weighing_model(Entry("signal", weights.shape), weights, base, gain))
    path.with_suffix(".yaml").write_text(manifest)
    return path


def noise(seed: int, mean: int = BRIGHT) -> NDArray[np.uint8]:
    """A picture of noise of this mean brightness."""
    found = np.random.default_rng(seed).normal(mean, 25, (SIDE, SIDE, 3))
    return np.clip(found, 0, 255).astype(np.uint8)
