"""Pictures that nobody looks at: they come, and are not decoded."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest

from edge_infer.engine.input.capture import ReaderCapture
from edge_infer.engine.input.feed import LEAST_LOOKS, Cursor, Feed
from edge_infer.errors import SourceError
from edge_infer.frames.timing import Pacer
from edge_infer.readers.fake import FakeCapture
from edge_infer.readers.sources import PASSED, Picture, Source, Wanted
from edge_infer.readers.sources.exec import ExecOptions, ExecSource
from edge_infer.readers.sources.http import HttpOptions, HttpSource
from edge_infer.readers.sources.rtsp import RtspOptions, RtspSource
from edge_infer.readers.sources.v4l2 import V4l2Options, V4l2Source
from edge_infer.readers.sources.video import VideoOptions, VideoSource
from tests.readers.paced import TARGET
from tests.readers.rig import Rig, make_plan
from tests.readers.test_http import camera, jpeg, part

FEW: Final = 0.15
"""Seconds between two of five a second, and more; of a hundred a second they are less, on a busy machine, too."""
PATIENCE: Final = 30.0


def every(number: int) -> Wanted:
    """Wants one of so many, the last of them."""
    asked: list[float] = []

    def wanted(monotonic: float) -> bool:
        assert not asked or monotonic >= asked[-1]
        asked.append(monotonic)
        return len(asked) % number == 0

    return wanted


def seen(source: Source, count: int) -> list[bool]:
    """Which of so many readings were pictures."""
    with source:
        return [isinstance(source.read(), Picture) for _ in range(count)]


@pytest.mark.parametrize("opened", [
    lambda fake: V4l2Source(V4l2Options("/dev/video9"), factory=lambda _: fake),
    lambda fake: RtspSource(RtspOptions("rtsp://127.0.0.1/cam"), factory=lambda *_: fake),
])  # fmt: skip
def test_a_camera_is_only_grabbed(opened: Callable[[FakeCapture], V4l2Source | RtspSource]) -> None:
    fake = FakeCapture(["frame"])
    source = opened(fake)
    source.wanted = every(3)
    assert seen(source, 9) == [False, False, True] * 3
    assert (fake.grabbed, fake.retrieved) == (9, 3)


@pytest.mark.parametrize("act", ["fail", "unplug"])
def test_a_camera_that_is_gone_is_noticed_by_a_frame_that_nobody_wants(act: str) -> None:
    source = V4l2Source(V4l2Options("/dev/video9"), factory=lambda _: FakeCapture(["frame", act]))  # type: ignore[list-item]
    source.wanted = lambda _: False
    with source:
        assert source.read() is PASSED
        with pytest.raises(SourceError, match="delivers no frames"):
            source.read()


def test_a_clip_keeps_its_pace_and_its_length(assets: Path) -> None:
    path = str(assets / "video" / "carphone_pristine.mp4")
    frames, fps = (cv2.VideoCapture(path).get(each) for each in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    source = VideoSource(VideoOptions(path))
    source.wanted = every(10)
    began = time.monotonic()
    with source:
        readings = list(iter(source.read, None))
    assert time.monotonic() - began > (frames - 1) / fps * 0.9
    assert len(readings) <= frames
    assert sum(isinstance(reading, Picture) for reading in readings) == len(readings) // 10


def broken() -> bytes:
    """Begins and ends as a JPEG file does, and is none."""
    return b"\xff\xd8" + bytes(2000) + b"\xff\xd9"


def one_by_one(*bodies: bytes) -> Iterator[bytes]:
    """A stream so slow that none of it waits for the reader."""
    for body in bodies:
        yield part(body, length=len(body))
        time.sleep(0.1)
    time.sleep(1.0)


def test_a_jpeg_that_nobody_wants_is_not_looked_into() -> None:
    """It is broken, which nobody notices."""
    bodies = (broken(), broken(), jpeg(90), broken(), broken(), jpeg(120))
    with camera(lambda: one_by_one(*bodies)) as server:
        source = HttpSource(HttpOptions(server.url))
        source.wanted = every(3)
        with source:
            readings = [source.read() for _ in range(6)]
    assert [reading is PASSED for reading in readings] == [True, True, False] * 2


def test_the_turn_of_a_broken_jpeg_is_that_of_the_next() -> None:
    with camera(lambda: one_by_one(jpeg(60), broken(), jpeg(90), jpeg(120))) as server:
        source = HttpSource(HttpOptions(server.url))
        source.wanted = every(2)
        with source:
            assert source.read() is PASSED
            picture = source.read()
    assert isinstance(picture, Picture)
    assert round(float(picture.pixels.mean())) == 90


def test_a_snapshot_that_nobody_wants_is_not_looked_into() -> None:
    with camera(lambda: iter([broken()]), kind="image/jpeg") as server:
        source = HttpSource(HttpOptions(server.url, snapshot=0.05))
        source.wanted = lambda _: False
        with source:
            assert source.read() is PASSED
            source.wanted = lambda _: True
            with pytest.raises(SourceError, match="not a readable picture"):
                source.read()


def test_of_a_command_every_frame_is_read_and_few_are_converted() -> None:
    script = "import sys\nfor value in range(200): sys.stdout.buffer.write(bytes([value]) * 96)"
    source = ExecSource(ExecOptions((sys.executable, "-c", script), 8, 8, "yuv420"))
    source.wanted = every(100)
    with source:
        readings = (source.read() for _ in range(200))
        pictures = [reading.pixels.copy() for reading in readings if isinstance(reading, Picture)]
    planar = [np.full((12, 8), value, np.uint8) for value in (99, 199)]
    assert all(map(np.array_equal, pictures, (cv2.cvtColor(each, cv2.COLOR_YUV2BGR_I420) for each in planar)))
    assert len(pictures) == 2


@pytest.mark.parametrize("phase", [0.0, 0.03, 0.07, 0.1, 0.14, 0.19])
@pytest.mark.parametrize("slower", [5.0, 4.0, 3.0, 0.7])
def test_a_pipeline_gets_its_rate_of_what_is_chosen_for_the_quickest(slower: float, phase: float) -> None:
    """A reader passes 5 of 30 frames a second, as the quickest pipeline wants; each arrives a little late."""
    random = np.random.default_rng(1)
    reader, pipeline, taken = Pacer(5.0), Pacer(slower), 0
    pipeline.due(phase)
    for index in range(1, 30 * 120):
        now = index / 30.0 + random.uniform(0.0, 0.015)
        if reader.due(now) and not pipeline.left(now):
            taken += pipeline.due(now)
    assert abs(taken - 120 * slower) <= 2


def test_a_reader_hears_what_is_looked_at(tmp_path: Path) -> None:
    """A source of many frames a second: few when one pipeline wants few, all when another one wants them."""
    plan = make_plan("paced", {"pause": 0.01}, target=TARGET)
    with Rig(plan, tmp_path) as rig:
        channel = rig.receiver._channel
        feed = Feed(plan)
        slow = feed.attach()
        feed.start(ReaderCapture(channel))
        try:
            assert come(feed, slow, lambda gap: gap < FEW)
            slow.most = 5.0
            assert come(feed, slow, lambda gap: gap > FEW)
            rig.kill()
            rig.start()
            assert come(feed, slow, lambda gap: gap > FEW)
            feed.attach()
            assert come(feed, slow, lambda gap: gap < FEW)
        finally:
            feed.close()


def come(feed: Feed, cursor: Cursor, apart: Callable[[float], bool]) -> bool:
    """Whether, some time soon, eight frames in a row were captured as far apart as that."""
    in_a_row, before, until = 0, -math.inf, time.monotonic() + PATIENCE
    while in_a_row < 8 and time.monotonic() < until:
        frame = feed.next(cursor, 0.2)
        if frame is not None:
            in_a_row = in_a_row + 1 if apart(frame.monotonic - before) else 0
            before = frame.monotonic
    return in_a_row == 8


def test_a_source_is_judged_by_two_frames_a_second_at_least() -> None:
    """Even when it has no pipeline, or none that runs."""
    feed = Feed(make_plan("paced", {}, target=TARGET))
    assert feed.looks() == LEAST_LOOKS
    quick, slow = feed.attach(), feed.attach()
    assert feed.looks() is None
    slow.most = 0.1
    assert feed.looks() is None
    quick.most = 5.0
    assert feed.looks() == 5.0
    feed.detach(quick)
    assert feed.looks() == LEAST_LOOKS
