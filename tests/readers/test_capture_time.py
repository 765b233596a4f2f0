"""The time of a frame that a decoder returns late."""

from __future__ import annotations

import time

import pytest

from edge_infer.readers.sources.capture_time import MAX_BACKLOG_SECONDS, StreamClock

STEP = 0.1


def test_a_frame_arrived_when_an_earlier_one_was_returned() -> None:
    clock, returned, captured = StreamClock(2, 0.0), [], []
    for number, pause in enumerate((0.05, 0.1, 0.05, 0.2, 0.05)):
        time.sleep(pause)
        returned.append(time.monotonic())
        times = clock.captured(number * STEP)
        assert times is not None
        captured.append(times[1])
    assert captured[2:] == pytest.approx(returned[:3], abs=0.02)
    assert captured == sorted(captured)


def test_a_backlog_is_left_out_and_the_first_frame_after_it_is_dated_by_the_stream() -> None:
    clock = StreamClock(2, 1 / STEP)
    assert [clock.captured(number * STEP) for number in (0, 0, 1, 2)] == [None] * 4
    time.sleep(STEP)
    times = clock.captured(3 * STEP)
    assert times is not None
    assert time.monotonic() - times[1] == pytest.approx(2 * STEP, abs=0.05)
    assert time.time() - times[0] == pytest.approx(2 * STEP, abs=0.05)


def test_a_stream_whose_own_times_are_wrong_is_given_after_a_while() -> None:
    clock, began, number = StreamClock(2, 25.0), time.monotonic(), 0
    while clock.captured(number * 60.0) is None:
        number += 1
        time.sleep(0.02)
    assert MAX_BACKLOG_SECONDS * 0.9 < time.monotonic() - began < MAX_BACKLOG_SECONDS + 1
