"""What a shadow costs the pipeline that it is compared with: the same frames with it and without it, by turns."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import ShadowStatus
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Frame
from edge_infer.ipc.channel import MAX_RESULT_BYTES, Channel
from edge_infer.ipc.messages import Handover, StateSnapshot
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan, ShadowPlan, SourcePlan
from tests.broker import eventually
from tests.running import CLIP, MODEL

SHARE: Final = 0.2
PART: Final = 250
"""Frames of one turn."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of ``frames`` frames beside a shadow: how fast they went, as a share of as fast as without, for each turn."""

    frames: int
    ratios: tuple[float, ...]
    shadow: ShadowStatus

    @property
    def ratio(self) -> float:
        """The median over the turns."""
        return statistics.median(self.ratios)

    @property
    def kept(self) -> bool:
        """Whether the pipeline was slowed by no more than the share, and a tenth of it."""
        return self.ratio >= 1.0 - SHARE * 1.1


def measure(frames: int, *, one_core: bool) -> Cost:
    """The shipped detector beside itself, as fast as it goes, on one core or on all."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)} if one_core else cores)  # what is started from here on runs there, too
    try:
        with _running() as turns:
            return turns.measured(frames)
    finally:
        os.sched_setaffinity(0, cores)


class _Turns:
    def __init__(self, pipeline: Worker, pictures: list[Frame]) -> None:
        self._pipeline = pipeline
        self._pictures = pictures
        self._number = 0

    def measured(self, frames: int) -> Cost:
        ratios, compared = [], list[ShadowStatus]()
        part = min(PART, frames)
        self._seconds(part // 4)  # the first runs are the slowest
        for turn in range(max(1, frames // part)):
            seconds = {}
            for shadowed in (True, False) if turn % 2 else (False, True):
                seconds[shadowed], status = self._turn(part, shadowed=shadowed)
                compared += [status] if status is not None else []
            ratios.append(seconds[False] / seconds[True])
        return Cost(part * len(ratios), tuple(ratios), _sum(compared))

    def _turn(self, frames: int, *, shadowed: bool) -> tuple[float, ShadowStatus | None]:
        plan = self._pipeline.plan
        shadow = ShadowPlan(replace(plan.model, name="next"), plan.threshold, SHARE) if shadowed else None
        self._pipeline.change(replace(plan, shadow=None))
        self._pipeline.change(replace(plan, shadow=shadow))  # one of its own for every turn
        if shadowed:
            eventually(lambda: _state(self._pipeline) == "running", lambda: str(self._pipeline.running()), 60)
        return self._seconds(frames), self._pipeline.running().shadow

    def _seconds(self, frames: int) -> float:
        begun = time.monotonic()
        for _ in range(frames):
            self._number += 1
            picture = self._pictures[self._number % len(self._pictures)]
            now = time.monotonic()
            frame = replace(picture, wall=time.time(), monotonic=now, number=self._number)
            self._pipeline.feed.offer(self._number, lambda taken=frame: taken)  # type: ignore[misc]
        return time.monotonic() - begun


def _state(pipeline: Worker) -> str:
    status = pipeline.running().shadow
    return "" if status is None else status.state


def _sum(statuses: list[ShadowStatus]) -> ShadowStatus:
    """The last, with the frames of all."""
    frames, skipped = sum(each.frames for each in statuses), sum(each.skipped for each in statuses)
    return replace(statuses[-1], frames=frames, skipped=skipped, errors=sum(each.errors for each in statuses))


@contextmanager
def _running() -> Iterator[_Turns]:
    """A pipeline that takes frames as fast as it can, and whose results nobody waits for."""
    with ExitStack() as stack:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot), MAX_RESULT_BYTES)
        stack.callback(ours.close)
        stack.callback(theirs.close)
        feed = Feed(SourcePlan("cam", "video", "none:None", live=False, network=False, options={}))
        feed.lossless = True
        stack.callback(feed.close)
        model = resolve(ModelRequest("faces", str(MODEL)))
        pipeline = Worker(PipelinePlan("door", "cam", model, 0.5, publish="off"), feed, ResultSender(ours, "abcdef"))
        stack.callback(pipeline.close)
        pipeline.start()
        eventually(lambda: pipeline.running().sha is not None, "a model", 60)
        heard = threading.Thread(target=_hear, args=(theirs, feed), daemon=True)
        heard.start()
        stack.callback(heard.join, 5.0)
        stack.callback(feed.stop)
        yield _Turns(pipeline, _pictures(CLIP))


def _hear(channel: Channel, feed: Feed) -> None:
    """Takes what the pipeline says, so that nothing piles up."""
    while not feed.stopping:
        while channel.receive() is not None:
            pass
        feed.pause(0.2)


def _pictures(clip: Path) -> list[Frame]:
    """Some frames of a clip."""
    capture, found = cv2.VideoCapture(str(clip)), list[Frame]()
    while len(found) < 50 and (read := capture.read())[0]:
        found.append(Frame(read[1].astype("uint8"), "bgr", 0.0, 0.0, 1))
    capture.release()
    return found
