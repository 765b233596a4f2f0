"""Stalls of a thread that wakes regularly, on a clock that a test moves."""

from __future__ import annotations

from edge_infer.platform.event_loop import GRACE, Stalls


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_late_wake_up_is_a_stall_and_a_punctual_one_is_not() -> None:
    clock = Clock()
    stalls = Stalls(clock)
    stalls.wait(1.0)
    clock.now += 1.0 + GRACE / 2
    stalls.woke()
    assert stalls.since(0.0) == 0.0
    stalls.wait(1.0)
    clock.now += 9.0
    assert stalls.since(0.0) == 8.0  # another thread, or one that has not woken up yet, knows as well
    stalls.woke()
    assert stalls.since(0.0) == 8.0


def test_a_thread_that_is_stopped_while_it_works_has_stalled_as_well() -> None:
    clock = Clock()
    stalls = Stalls(clock)
    clock.now += 50.0  # before its first turn
    stalls.wait(1.0)
    stalls.woke()
    assert stalls.since(0.0) == 0.0
    clock.now += GRACE
    assert stalls.since(0.0) == 0.0  # a turn has its work
    clock.now += 12.0
    assert stalls.since(0.0) == 12.0 + GRACE
    stalls.wait(1.0)
    assert stalls.since(0.0) == 12.0 + GRACE


def test_only_the_part_after_the_moment_counts() -> None:
    clock = Clock()
    stalls = Stalls(clock)
    stalls.wait(0.0)
    clock.now += 8.0
    stalls.woke()
    assert [stalls.since(moment) for moment in (50.0, 104.0, 108.0)] == [8.0, 4.0, 0.0]
