"""Scenes cut out of public clips, with days, nights, rain and camera faults."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.picture import picture_signals
from edge_infer.frames.frame import Pixels
from edge_infer.ipc.drift import CameraReference

YEAR: Final = 365 * 86400.0
SIZE: Final = (640, 480)
LEARN_EVERY: Final = 45.0
"""Seconds between two pictures while a scene is learned; afterwards there is one a second."""
FAULTS: Final = ("none", "covered", "dark", "defocused", "moved", "veiled")
WITHIN: Final = {"none": 900, "covered": 10, "dark": 10, "defocused": 60, "moved": 60, "veiled": 600}
"""Seconds within which a fault must be reported; for ``none``, the seconds without any report."""
BLOCK: Final = 8
"""Number of frames in a part of the clip."""
_CLIPS: Final = ("vtest_first160.avi", "carphone_pristine.mp4")
"""Three of four scenes are from the first clip."""


def frames_of(clip: Path) -> list[Pixels]:
    """Return all frames of a clip."""
    reader = cv2.VideoCapture(str(clip))
    frames: list[Pixels] = []
    while True:
        found, frame = reader.read()
        if not found:
            return frames
        frames.append(np.asarray(frame, np.uint8))


class Scene:
    """A section of a clip's picture as one camera sees it. Every second part of the clip is for learning, the others
    are for tests."""

    def __init__(self, assets: Path, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self._frames = frames_of(assets / "video" / _CLIPS[seed % 4 == 0])
        height, width = self._frames[0].shape[:2]
        share = self.draw.uniform(0.6, 0.95)
        self._across, self._down = width * share, height * share
        self._left = self.draw.uniform(0, width - self._across)
        self._top = self.draw.uniform(0, height - self._down)
        self._rain = self.draw.uniform(0, 20)
        self._noise = self.draw.standard_normal((8, SIZE[1], SIZE[0], 1), dtype=np.float32)
        blocks = [self._frames[start : start + BLOCK] for start in range(0, len(self._frames), BLOCK)]
        self.learned, self.unseen = ([frame for block in blocks[half::2] for frame in block] for half in (0, 1))

    def picture(self, frame: Pixels, now: float, move: tuple[float, float] = (0.0, 0.0)) -> Pixels:
        """Return a frame at a time of the day; its content is moved by shares of the frame."""
        across, down = SIZE[0] / self._across, SIZE[1] / self._down
        place = np.array(
            [[across, 0, move[0] * SIZE[0] - self._left * across], [0, down, move[1] * SIZE[1] - self._top * down]]
        )
        cut = cv2.warpAffine(frame, place, SIZE, borderMode=cv2.BORDER_REFLECT)
        hour, pixels = now / 3600 % 24, np.asarray(cut, np.float32)
        day = max(0.0, math.sin((hour - 6) / 12 * math.pi))
        if day < 0.08:  # the camera has switched to infrared
            gray = np.asarray(pixels.mean(axis=2, keepdims=True), np.float32)
            pixels, noise = np.repeat(gray, 3, 2) * 0.55 + 10, 6.0
        else:
            pixels, noise = pixels * (0.45 + 0.6 * day**0.5) * float(self.draw.normal(1, 0.02)), 2.0
        if 0 < hour - self._rain < 3:
            pixels, noise = pixels * 0.8 + 20, 5.0
        return _bytes(pixels + noise * self._noise[int(self.draw.integers(8))])

    def any_of(self, frames: list[Pixels]) -> Pixels:
        """Return one of the frames."""
        return frames[int(self.draw.integers(len(frames)))]


def learned(scene: Scene) -> CameraReference:
    """Return the reference that a watch learns from a scene in two days."""
    watch, now = CameraWatch("scene", YEAR, CameraReference("scene")), 8 * 3600.0
    while watch.learned < 1.0:
        watch.see(now, picture_signals(scene.picture(scene.any_of(scene.learned), now)))
        now += LEARN_EVERY
    return watch.kept()


class Fault:
    """One fault of a camera, with a random strength and position."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self._draw = np.random.default_rng(seed)
        self._level = self._draw.uniform(3, 60)
        way = self._draw.choice([-1, 1])
        self.move = (
            (way * self._draw.uniform(0.05, 0.2), self._draw.uniform(-0.05, 0.05)) if kind == "moved" else (0, 0)
        )
        left, across = self._draw.uniform(0, 0.5), self._draw.uniform(0.3, 0.5)
        web = np.zeros(SIZE[::-1], np.float32)
        corners = (round(left * SIZE[0]), 0), (round((left + across) * SIZE[0]), round(0.9 * SIZE[1]))
        cv2.rectangle(web, *corners, 1.0, -1)
        self._web = np.asarray(cv2.GaussianBlur(web, (0, 0), 20))[..., None] * 0.8

    def on(self, picture: Pixels) -> Pixels:
        """Return the picture with the fault."""
        if self.kind == "covered":
            return _bytes(self._draw.normal(self._level, 2, picture.shape))
        if self.kind == "dark":
            return _bytes(picture * 0.1)
        if self.kind == "defocused":
            return np.asarray(cv2.GaussianBlur(picture, (0, 0), 3), np.uint8)
        if self.kind == "veiled":
            behind = np.asarray(cv2.GaussianBlur(picture, (0, 0), 4), np.float32) * 0.6 + 70
            return _bytes(picture * (1 - self._web) + behind * self._web)
        return picture


def _bytes(pixels: object) -> Pixels:
    return np.clip(np.asarray(pixels, np.float32), 0, 255).astype(np.uint8)


def trial(scene: Scene, reference: CameraReference, kind: str, seed: int) -> tuple[str, int, CameraWatch]:
    """Apply a fault after six normal minutes; return the reported fault, the seconds until the report, and the
    watch."""
    watch, fault = CameraWatch("scene", YEAR, reference), Fault(kind, seed)
    draw = np.random.default_rng(seed)
    hour = draw.uniform(8, 17) if draw.random() < 0.7 else draw.uniform(0, 4)
    begin = 20 * 86400 + hour * 3600
    for second in range(-360, WITHIN[kind] + 1):
        now = begin + second
        picture = scene.picture(scene.any_of(scene.unseen), now, fault.move if second >= 0 else (0.0, 0.0))
        watch.see(now, picture_signals(fault.on(picture) if second >= 0 else picture))
        if watch.raised is not None:
            return watch.raised.kind, second, watch
    return "none", WITHIN[kind], watch
