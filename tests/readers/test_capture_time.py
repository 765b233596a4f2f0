"""The time of a frame that a decoder returns late."""

from __future__ import annotations

import pytest

from edge_infer.readers.sources import video_capture
from edge_infer.readers.sources.video_capture import MAX_BACKLOG_SECONDS, StreamClock

STEP = 0.1
AHEAD = 1000.0
"""Seconds by which the wall clock of `Now` is ahead of its monotonic clock."""


class Now:
    """Stands in for the module ``time`` of the clock: a test sets it forward."""

    def __init__(self) -> None:
        self.at = 5.0

    def monotonic(self) -> float:
        return self.at

    def time(self) -> float:
        return AHEAD + self.at


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    found = Now()
    monkeypatch.setattr(video_capture, "time", found)
    return found


def test_a_frame_arrived_when_an_earlier_one_was_returned(now: Now) -> None:
    clock, returned, captured = StreamClock(2, 0.0), [], []
    for number, pause in enumerate((0.05, 0.1, 0.05, 0.2, 0.05)):
        now.at += pause
        returned.append(now.at)
        times = clock.captured(number * STEP)
        assert times is not None
        captured.append(times[1])
    assert captured[2:] == pytest.approx(returned[:3])
    assert captured == sorted(captured)


def test_a_backlog_is_left_out_and_the_first_frame_after_it_is_dated_by_the_stream(now: Now) -> None:
    clock = StreamClock(2, 1 / STEP)
    assert [clock.captured(number * STEP) for number in (0, 0, 1, 2)] == [None] * 4
    now.at += STEP
    assert clock.captured(3 * STEP) == pytest.approx((AHEAD + now.at - 2 * STEP, now.at - 2 * STEP))


def test_a_stream_whose_own_times_are_wrong_is_given_after_a_while(now: Now) -> None:
    clock, began, number = StreamClock(2, 25.0), now.at, 0
    while clock.captured(number * 60.0) is None:
        number += 1
        now.at += 0.02
    assert MAX_BACKLOG_SECONDS < now.at - began <= MAX_BACKLOG_SECONDS + 0.04
