"""Made pictures of one scene, with what may happen to its camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.picture import PictureSignals, picture_signals
from edge_infer.frames.frame import Pixels
from edge_infer.ipc.drift import CameraReference

YEAR: Final = 365 * 86400.0
WIDTH, HEIGHT = 320, 240
_MARGIN: Final = 80


def _world() -> Pixels:
    """Return a fixed picture, larger than a frame: walls, windows and a street with much detail."""
    draw = np.random.default_rng(7)
    world = np.full((HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN, 3), 120, np.uint8)
    for _ in range(160):
        x, y = draw.integers(0, world.shape[1]), draw.integers(0, world.shape[0])
        size = draw.integers(8, 70, 2)
        color = tuple(int(part) for part in draw.integers(20, 235, 3))
        cv2.rectangle(world, (int(x), int(y)), (int(x + size[0]), int(y + size[1])), color, -1)
    return world


WORLD: Final = _world()


def frame(number: int, *, right: int = 0, down: int = 0, night: bool = False) -> Pixels:
    """Return a frame with noise and a passing object; its content is moved by so many pixels."""
    draw = np.random.default_rng(number)
    top, left = _MARGIN - down, _MARGIN - right
    pixels = WORLD[top : top + HEIGHT, left : left + WIDTH].astype(np.float32)
    x = int(draw.integers(0, WIDTH - 30))
    pixels[150:210, x : x + 25] = draw.integers(0, 255)
    if night:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, 2) * 0.4 + 5
    pixels = pixels * draw.normal(1.0, 0.02) + draw.normal(0, 2.0, (HEIGHT, WIDTH, 1))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def learned(step: float = 40.0) -> CameraWatch:
    """Return a watch that has learned days and nights of the scene."""
    days = [picture_signals(frame(number)) for number in range(40)]
    nights = [picture_signals(frame(number, night=True)) for number in range(40)]
    watch, draw, now = CameraWatch("basis", YEAR, CameraReference("basis")), np.random.default_rng(1), 0.0
    while watch.learned < 1.0:
        dark = now / 3600 % 24 > 12
        watch.see(now, (nights if dark else days)[draw.integers(40)])
        now += step
        assert now < 70 * 3600, "two days and a little are enough"
    return watch


def run(watch: CameraWatch, seconds: int, picture: Callable[[int], Pixels], begin: float = 1e6) -> float | None:
    """Show a watch one picture a second; return after how many seconds it raised a drift."""
    signals: dict[int, PictureSignals] = {}
    for second in range(seconds):
        if second % 20 not in signals:
            signals[second % 20] = picture_signals(picture(100 + second % 20))
        watch.see(begin + second, signals[second % 20])
        if watch.raised is not None:
            return second
    return None
