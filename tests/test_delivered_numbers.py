"""Which numbers the broker has acknowledged outlives whoever noted it; none of them seems acknowledged that was not."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edge_infer.ipc.delivered_numbers import (
    BYTES,
    LAST,
    SLOT_BYTES,
    SLOTS,
    DeliveredNumbers,
    Series,
    new_delivered_numbers,
)

DOOR: Series = ("door", "aaaaaa", "result")
EVENTS: Series = ("door", "aaaaaa", "event")
YARD: Series = ("yard", "aaaaaa", "result")
WRITING = """
import sys
from edge_infer.ipc.delivered_numbers import SLOTS, DeliveredNumbers
numbers = DeliveredNumbers(int(sys.argv[1]))
print("begun", flush=True)
for number in range(1, 10**9):
    numbers.add(("door", "aaaaaa", "result"), 3 * number)
    numbers.add(("yard", "aaaaaa", "result"), 3 * number + 1)
    if number % 1000 == 0:
        print(3 * number, flush=True)
"""


@pytest.fixture
def memory() -> Iterator[int]:
    fd = new_delivered_numbers()
    yield fd
    os.close(fd)


def test_the_next_ones_know_what_each_before_them_noted(memory: int) -> None:
    with DeliveredNumbers(os.dup(memory)) as first:
        for number in (1, 2, 3, 7, 6, 9):
            first.add(DOOR, number)
        assert not first.before(DOOR, 1)  # its own
    with DeliveredNumbers(os.dup(memory)) as second:
        assert [number for number in range(12) if second.before(DOOR, number)] == [1, 2, 3, 6, 7, 9]
        assert not any(second.before(series, number) for series in (EVENTS, YARD) for number in range(12))
        second.add(YARD, 4)
        second.add(DOOR, 4)
        second.add(DOOR, 4)
    with DeliveredNumbers(os.dup(memory)) as third:
        assert [number for number in range(12) if third.before(DOOR, number)] == [1, 2, 3, 4, 6, 7, 9]
        assert [number for number in range(12) if third.before(YARD, number)] == [4]


def test_the_newest_stay_and_the_oldest_give_way(memory: int) -> None:
    with DeliveredNumbers(os.dup(memory)) as first:
        for number in range(1, 2 * SLOTS):
            first.add(DOOR, number)
    with DeliveredNumbers(os.dup(memory)) as second:
        second.add(DOOR, 2 * SLOTS)
    with DeliveredNumbers(os.dup(memory)) as third:
        assert [number for number in range(3 * SLOTS) if third.before(DOOR, number)] == [
            *range(SLOTS + 1, 2 * SLOTS + 1)
        ]


def test_a_slot_that_was_written_in_part_is_nothing(memory: int) -> None:
    """Whatever the slot held before, another series for example."""
    with DeliveredNumbers(os.dup(memory)) as numbers:
        numbers.add(DOOR, 255)
        before = os.pread(memory, SLOT_BYTES, SLOT_BYTES)
    os.pwrite(memory, bytes(BYTES), 0)
    with DeliveredNumbers(os.dup(memory)) as numbers:
        numbers.add(YARD, 256)
        after = os.pread(memory, SLOT_BYTES, SLOT_BYTES)
    for cut in range(1, SLOT_BYTES):
        os.pwrite(memory, after[:cut] + before[cut:], SLOT_BYTES)
        with DeliveredNumbers(os.dup(memory)) as numbers:
            known = {
                (series, number) for series in (DOOR, YARD) for number in range(512) if numbers.before(series, number)
            }
        assert known <= {(DOOR, 255), (YARD, 256)}


def test_after_a_kill_nothing_seems_acknowledged_that_was_not(memory: int) -> None:
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(memory)], pass_fds=(memory,), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(3):
            said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = [said, *process.stdout.read().splitlines()][-1]
        process.stdout.close()
        with DeliveredNumbers(os.dup(memory)) as numbers:
            assert numbers.before(DOOR, int(said))
            above = range(int(said) - 2999, int(said) + 30_000)
            assert not any(numbers.before(DOOR, number) for number in above if number % 3)
            assert not any(numbers.before(YARD, number) for number in above if number % 3 != 1)


def test_what_somebody_else_wrote_there_is_nothing_and_stops_nobody(memory: int) -> None:
    os.pwrite(memory, random.Random(1).randbytes(BYTES), 0)
    fcntl.fcntl(memory, fcntl.F_SETFL, os.O_APPEND)
    with DeliveredNumbers(os.dup(memory)) as first:
        assert not any(first.before(DOOR, number) for number in range(1000))
        first.add(DOOR, 5)
    with DeliveredNumbers(os.dup(memory)) as second:
        assert second.before(DOOR, 5)


@pytest.mark.parametrize("running", [2**64 - 2, LAST, LAST - 1])
def test_it_goes_on_after_a_running_number_that_nothing_follows(
    memory: int, running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = DeliveredNumbers(os.dup(memory))
    monkeypatch.setattr(spoiled, "_newest", running - 1)
    spoiled.add(DOOR, 1)
    spoiled.close()
    for number in range(2, 6):
        with DeliveredNumbers(os.dup(memory)) as numbers:
            assert number == 2 or numbers.before(DOOR, number - 1)
            numbers.add(DOOR, number)


def test_it_holds_no_more_than_its_slots(memory: int) -> None:
    for grow in (lambda: os.pwrite(memory, b"x", BYTES), lambda: os.ftruncate(memory, 2 * BYTES)):
        with pytest.raises(PermissionError):
            grow()
