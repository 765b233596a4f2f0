"""Records and open files between two ends, whole and in order, and what the other end can do wrong."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_infer.channel import LONGEST, PACKET, Channel, ChannelClosedError
from edge_infer.errors import WireError


@dataclass(frozen=True, slots=True)
class Word:
    number: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    pass


Ends = tuple[Channel, Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two ends, and a bare socket to the first one's peer for what a hostile peer sends."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw = left.dup()
    one, two = Channel(left.detach(), (Word,)), Channel(right.detach(), (Word,))
    yield one, two, raw
    raw.close()
    one.close()
    two.close()
    two.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_records_come_out_whole_and_in_order(ends: Ends) -> None:
    one, two, _ = ends
    for number in range(5):
        assert one.send(Word(number, f"text {number} ü"))
    assert [two.receive() for _ in range(5)] == [Word(number, f"text {number} ü") for number in range(5)]
    assert two.receive() is None


def test_what_a_dead_process_left_half_said_mixes_with_nothing(ends: Ends) -> None:
    one, two, _ = ends
    heir = Channel(os.dup(one.fd), (Word,))
    assert one.send(Word(1, "x" * 8 * PACKET))  # begun: the buffer does not take all of it
    assert one.unsent
    while two.receive() is not None:
        pass
    assert heir.send(Word(2))
    assert two.receive() == Word(2)
    late = Channel(os.dup(two.fd), (Word,))
    while not one.flush():  # the end of a record whose beginning a process before this one took
        assert late.receive() is None
    assert late.receive() is None
    assert heir.send(Word(3))
    assert late.receive() == Word(3)
    heir.close()
    late.close()


def test_both_directions_are_apart(ends: Ends) -> None:
    one, two, _ = ends
    one.send(Word(1))
    two.send(Word(2))
    assert (one.receive(), two.receive()) == (Word(2), Word(1))


def test_a_long_record_is_split_and_put_together(ends: Ends) -> None:
    @dataclass(frozen=True, slots=True)
    class Long:
        numbers: tuple[int, ...]

    one, two, _ = ends
    two._accepts["Long"] = Long
    long = Long(tuple(range(200_000)))
    sent = one.send(long)
    received = two.receive()
    while received is None:
        one.flush()
        received = two.receive()
    assert sent
    assert received.numbers == long.numbers
    assert one.flush()
    one.send(Word(9))
    assert two.receive() == Word(9)


def test_what_the_other_end_does_not_read_is_refused_and_nothing_mixes(ends: Ends) -> None:
    one, two, _ = ends
    sent = 0
    while one.send(Word(sent)):
        sent += 1
    assert not one.send(Word(-1))
    numbers = [word.number for word in iter(two.receive, None)]
    assert numbers == list(range(sent))
    assert one.send(Word(sent))
    assert two.receive() == Word(sent)


def test_waiting_ends_with_a_record_or_without(ends: Ends) -> None:
    one, two, _ = ends
    assert two.wait(0.01) is None
    timer = threading.Timer(0.05, one.send, (Word(1),))
    timer.start()
    assert two.wait(10.0) == Word(1)
    timer.join()


def test_files_travel_with_their_record(ends: Ends, tmp_path: Path) -> None:
    one, two, _ = ends
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with (tmp_path / "a").open() as a, (tmp_path / "b").open() as b:
        one.send(Word(1), files=(a.fileno(), b.fileno()))
        one.send(Word(2))
    assert two.receive() == Word(1)
    for name in ("a", "b"):
        file = two.take_file()
        assert not os.get_inheritable(file)
        with os.fdopen(file) as taken:
            assert taken.read() == name
    assert two.receive() == Word(2)
    with pytest.raises(WireError, match="no open file"):
        two.take_file()


def test_files_that_nobody_takes_do_not_pile_up(ends: Ends) -> None:
    one, two, _ = ends
    gc.collect()  # what earlier tests have left goes now, not in between
    before = open_files()
    for number in range(20):
        one.send(Word(number), files=(0, 0))
        assert two.receive() == Word(number)
    assert open_files() <= before + 2
    two.receive()
    assert open_files() == before


def test_a_file_of_a_bad_record_is_not_taken_for_the_next_ones(ends: Ends) -> None:
    one, two, _ = ends
    one.send(Other(), files=(0,))
    one.send(Word(1))
    with pytest.raises(WireError):
        two.receive()
    assert two.receive() == Word(1)
    with pytest.raises(WireError, match="no open file"):
        two.take_file()


@pytest.mark.parametrize(
    "packet",
    [
        b"\0not json",
        b"\0[]",
        b"\0{}",
        b'\0{"Word":{"number":1},"Other":{}}',
        b'\0{"Other":{}}',
        b'\0{"Word":{"number":"1"}}',
        b'\0{"Word":{"number":1,"extra":2}}',
        b'\0{"Word":{}}',
        b"\0\xff\xfe",
        b"\0",
    ],
)
def test_what_does_not_fit_is_refused_and_the_channel_goes_on(ends: Ends, packet: bytes) -> None:
    one, two, raw = ends
    raw.send(packet)
    with pytest.raises(WireError):
        two.receive()
    one.send(Word(1))
    assert two.receive() == Word(1)


def test_a_record_without_end_is_refused(ends: Ends) -> None:
    _, two, raw = ends
    packet = b"\1" + bytes(PACKET)
    raw.settimeout(10)
    for _ in range(LONGEST // PACKET):
        raw.send(packet)
        assert two.receive() is None
        packet = b"\2" + bytes(PACKET)
    raw.send(packet)
    with pytest.raises(WireError, match="more than"):
        two.receive()


def test_the_end_of_the_other_end_is_told_after_what_it_said(ends: Ends) -> None:
    one, two, raw = ends
    one.send(Word(1))
    one.close()
    raw.close()
    assert two.receive() == Word(1)
    with pytest.raises(ChannelClosedError):
        two.receive()
    with pytest.raises(ChannelClosedError):
        two.send(Word(2))


def test_a_channel_is_not_inherited(ends: Ends) -> None:
    one, _, _ = ends
    assert not os.get_inheritable(one.fileno())
