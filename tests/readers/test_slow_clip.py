"""A clip in real time whose decoding, or whose consumer, is slow: by a clock that moves only when they take time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer.readers.sources import Picture, video_capture
from edge_infer.readers.sources import video as module
from edge_infer.readers.sources.video import MAX_SKIPPING_SECONDS, VideoOptions, VideoSource

FRAMES, FPS = 237, 12.5
INTERVAL = 1 / FPS
PIXELS = np.zeros((4, 4, 3), np.uint8)


class Clock:
    """Stands in for the modules ``time`` and ``threading``: a wait moves the clock forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1e9

    def Event(self) -> Clock:  # noqa: N802 - the name in ``threading``
        return self

    def clear(self) -> None: ...

    def set(self) -> None: ...

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


class Clip:
    """A capture of a clip, each picture of which takes the next of some times to decode."""

    def __init__(self, clock: Clock, decoding: Iterable[float], frames: int, stated: int, fps: float) -> None:
        self.clock, self.decoding, self.frames, self.stated, self.fps = clock, cycle(decoding), frames, stated, fps
        self.grabbed = 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, prop: int) -> float:
        known = {
            cv2.CAP_PROP_FPS: self.fps,
            cv2.CAP_PROP_FRAME_COUNT: self.stated,
            cv2.CAP_PROP_POS_MSEC: 1000 * INTERVAL * (self.grabbed - 1),
        }
        return known.get(prop, 0.0)

    def grab(self) -> bool:
        if self.grabbed == self.frames:
            return False
        self.clock.now += next(self.decoding)
        self.grabbed += 1
        return True

    def retrieve(self, into: Any = None) -> tuple[bool, Any]:
        del into
        return True, PIXELS

    def release(self) -> None: ...


Play = Callable[..., VideoSource]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(monotonic=clock.monotonic, time=clock.time)
    monkeypatch.setattr(module, "time", fake)
    monkeypatch.setattr(video_capture, "time", fake)
    monkeypatch.setattr(module, "threading", SimpleNamespace(Event=clock.Event))
    return clock


@pytest.fixture
def play(clock: Clock, tmp_path: Path) -> Play:
    """Returns a source that plays a clip of 237 pictures, which takes 19 s."""
    path = tmp_path / "clip.avi"
    path.write_bytes(b"RIFF of some kind")

    def play(
        *decoding: float, loop: bool = False, frames: int = FRAMES, stated: int = FRAMES, fps: float = FPS
    ) -> VideoSource:
        return VideoSource(VideoOptions(str(path), loop=loop), lambda _: Clip(clock, decoding, frames, stated, fps))

    return play


def times(source: VideoSource, clock: Clock, most: int = 10_000, consuming: Iterable[float] = (0.0,)) -> list[float]:
    """The capture times of the pictures until the end, where the consumer takes some time after each."""
    found = []
    with source:
        for picture, busy in zip(islice(iter(source.read, None), most), cycle(consuming), strict=False):
            assert isinstance(picture, Picture)
            found.append(picture.monotonic)
            clock.now += busy
    return found


@pytest.mark.parametrize("decoding", [0.075, 0.085, 0.1, 0.16, 0.5])
def test_a_clip_that_decodes_slowly_gives_every_picture(
    play: Play, clock: Clock, decoding: float, caplog: pytest.LogCaptureFixture
) -> None:
    found = times(play(decoding), clock)
    assert len(found) == FRAMES
    pace = max(decoding, INTERVAL)
    assert found[-1] - found[0] == pytest.approx((FRAMES - 1) * pace, rel=0.05)
    assert min(np.diff(found)) > 0
    assert max(np.diff(found)) <= pace + 1e-6
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (decoding > INTERVAL)
    warning = f"clip.avi decodes at {1 / decoding:.3g} fps, its rate is 12.5 fps; it plays slower than in real time"
    assert all(warning in each for each in told)


@pytest.mark.parametrize("mean", [0.95, 0.99, 1.02])
def test_a_clip_that_decodes_about_as_fast_as_it_plays_loses_few_pictures(
    play: Play, clock: Clock, mean: float
) -> None:
    """One picture of fifty takes three times as long, and each is converted as well."""
    usual = mean * 50 / 52 * INTERVAL
    found = times(play(*[3 * usual, *[usual] * 49]), clock, consuming=[0.1 * INTERVAL])
    assert len(found) > 0.98 * FRAMES
    assert max(np.diff(found)) < 5 * INTERVAL


def test_a_clip_that_decodes_slowly_by_turns_skips_little(play: Play, clock: Clock) -> None:
    found = times(play(0.3, 0.01, 0.01, 0.03), clock)
    assert len(found) > 0.7 * FRAMES
    assert max(np.diff(found)) < 0.7


@pytest.mark.parametrize("decoding", [0.085, 0.16])
def test_a_loop_that_decodes_slowly_goes_on(
    play: Play, clock: Clock, decoding: float, caplog: pytest.LogCaptureFixture
) -> None:
    found = times(play(decoding, loop=True), clock, most=4 * FRAMES)
    assert len(found) == 4 * FRAMES
    assert max(np.diff(found)) <= 2 * decoding
    assert len(caplog.records) == 1


def test_a_clip_keeps_real_time_for_a_slow_consumer(play: Play, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    found = times(play(0.01), clock, consuming=[0.25])
    assert FRAMES / 5 < len(found) < FRAMES / 3
    assert found[-1] - found[0] == pytest.approx((FRAMES - 1) * INTERVAL, abs=0.5)
    assert caplog.records == []


def test_frames_that_come_faster_than_the_stated_rate_are_skipped_as_well(play: Play, clock: Clock) -> None:
    """A recording in bursts states its mean rate."""
    found = times(play(0.01, fps=2.0), clock, consuming=[0.25])
    assert found[-1] - found[0] == pytest.approx((FRAMES - 1) * INTERVAL, abs=0.7)


def test_a_clip_that_cannot_catch_up_goes_on_from_where_it_is(
    play: Play, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the consumer takes 0.9 s, and each skipped picture gains 1 ms."""
    found = times(play(0.079), clock, consuming=[0.0] * 20 + [0.9] + [0.0] * FRAMES)
    assert max(np.diff(found)) < MAX_SKIPPING_SECONDS + 1.1
    assert len(found) > FRAMES - 40
    assert caplog.records == []


def test_a_loop_gives_its_first_picture_each_time(play: Play, clock: Clock) -> None:
    """The first picture, with the opening, takes longer than the whole clip."""
    found = times(play(0.5, 0.01, 0.01, loop=True, frames=3, stated=3), clock, most=30)
    assert len(found) == 30
    assert max(np.diff(found)) == pytest.approx(0.5 + INTERVAL)


def test_one_stall_is_not_a_slow_clip(play: Play, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    times(play(*[0.01] * 50, 5.0, *[0.01] * (FRAMES - 51)), clock)
    assert caplog.records == []


def test_a_clip_whose_last_pictures_are_skipped_is_not_truncated(
    play: Play, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer takes 0.9 s each time, so that the pictures after that are late."""
    found = times(play(0.05, 0.06), clock, consuming=[0.9])
    assert len(found) < FRAMES / 10
    assert caplog.records == []


def test_a_clip_that_is_cut_off_is_told_once(play: Play, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    times(play(0.01, loop=True, stated=2 * FRAMES), clock, most=4 * FRAMES)
    (record,) = caplog.records
    assert record.getMessage().endswith("clip.avi ends after 19.0 of 37.9 s; it seems to be truncated")
