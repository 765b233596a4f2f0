"""A capture device without hardware, for tests of camera failures and of your own code around a source."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np

from edge_infer.frames.frame import Pixels

Act = Literal["frame", "same", "black", "fail", "unplug", "hang"]


class FakeCapture:
    """Replacement for ``cv2.VideoCapture`` that follows ``script``: one word per frame; the last word is repeated.

    ``frame`` gives a new picture, ``same`` the previous picture, ``black`` a black picture, and ``fail`` no picture.
    ``unplug`` raises ENODEV, and ``hang`` blocks until `release`. `grabbed` and `retrieved` count the calls of `grab`
    and `retrieve`.
    """

    def __init__(self, script: Sequence[Act], *, width: int = 64, height: int = 48, opens: bool = True) -> None:
        self.settings: dict[int, float] = {}
        self.grabbed = self.retrieved = 0
        self._steps: Final[Iterator[Act]] = iter(script)
        self._act: Act = "fail"
        self._opens = opens
        self._released = threading.Event()
        self._random = np.random.default_rng(1)
        self._pixels: Pixels = np.zeros((height, width, 3), np.uint8)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether the device could be opened and is not released."""
        return self._opens and not self._released.is_set()

    def set(self, prop: int, value: float) -> bool:
        """Store the value of a property."""
        self.settings[prop] = value
        return True

    def get(self, prop: int) -> float:
        """Return a property that was set, or 0."""
        return self.settings.get(prop, 0.0)

    def grab(self) -> bool:
        """Run one step of the script; return False for no frame."""
        self.grabbed += 1
        self._act = next(self._steps, self._act)
        if self._act == "unplug":
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if self._act == "hang":
            self._released.wait()
        return self._act in ("frame", "same", "black")

    def retrieve(self, into: Pixels | None = None, /) -> tuple[bool, Pixels]:
        """Return the picture of the last `grab`, written into ``into`` if the shape fits."""
        self.retrieved += 1
        if self._act == "frame":
            self._pixels = self._random.integers(0, 256, self._pixels.shape, dtype=np.uint8)
        elif self._act == "black":
            self._pixels = np.zeros_like(self._pixels)
        if into is None or into.shape != self._pixels.shape:
            return True, self._pixels
        into[...] = self._pixels
        return True, into

    def release(self) -> None:
        """Unblock a hanging `grab`; may be called twice."""
        self._released.set()
