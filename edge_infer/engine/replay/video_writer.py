"""Writes a replay as a video, with findings and scene drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from edge_infer.contract.messages import Event
from edge_infer.engine.replay.replay import Replayed
from edge_infer.engine.replay.scene_picture import ScenePicture
from edge_infer.errors import InputError
from edge_infer.frames.frame import Frame
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.closing import Closing

USUAL_FPS: Final = 10.0


class Film(Closing):
    """Writes the pictures of a replay at the frame rate of its first two frames."""

    def __init__(self, path: Path, plan: PipelinePlan) -> None:
        self._path = path
        self._draw = ScenePicture(plan)
        self._first: tuple[float, cv2.typing.MatLike] | None = None
        self._writer: cv2.VideoWriter | None = None

    def add(self, replayed: Replayed) -> None:
        """Add the next picture."""
        if not isinstance(replayed.frame, Frame):
            return
        events = [said for said in replayed.said if isinstance(said, Event)]
        picture = self._draw(replayed.frame, replayed.findings, events, replayed.decided, replayed.glance)
        if self._writer is not None:
            self._writer.write(picture)
        elif self._first is None:
            self._first = replayed.frame.monotonic, picture
        else:
            self._open(replayed.frame.monotonic - self._first[0], picture)

    def close(self) -> None:
        """Finish the file; may be called twice."""
        if self._writer is None and self._first is not None:
            self._open(0.0, None)
        if self._writer is not None:
            self._writer.release()
            self._writer, self._first = None, None

    def _open(self, interval: float, second: cv2.typing.MatLike | None) -> None:
        assert self._first is not None
        picture = self._first[1]
        size = picture.shape[1], picture.shape[0]
        fps = 1 / interval if interval > 0 else USUAL_FPS
        self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise InputError(
                f"{self._path} cannot be written as a video: its name must end in .mp4, and its folder must exist"
            )
        for each in (picture, second):
            if each is not None:
                self._writer.write(each)
