"""Records and open files between two ends, whole and in order, and what the other end can do wrong."""

from __future__ import annotations

import gc
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import FREE_MEMORY, MAX_MEMORY_FACTOR, JsonValue, Record
from edge_infer.contract.messages import MOST, Latency, PipelineHealth, SourceHealth
from edge_infer.errors import WireError
from edge_infer.ipc.channel import (
    MAX_PACKETS,
    MAX_PLAN_BYTES,
    MAX_REPORT_BYTES,
    MAX_UNFINISHED,
    MOST_FILES,
    PACKET,
    Channel,
    ChannelClosedError,
    pack,
)
from edge_infer.ipc.messages import EngineReport, Running, Tally, WhyAnswer


class Word(Record, frozen=True):
    number: int
    text: str = ""


class Loose(Record, frozen=True):
    value: JsonValue


class Other(Record, frozen=True):
    pass


Ends = tuple[Channel, Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two ends, and a bare socket to the first one's peer for what a hostile peer sends."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw = left.dup()
    one, two = Channel(left.detach(), (Word,)), Channel(right.detach(), (Word,), MAX_PLAN_BYTES, files=True)
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
    late = Channel(os.dup(two.fd), (Word,), MAX_PLAN_BYTES)
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
    class Long(Record, frozen=True):
        numbers: tuple[int, ...]

    one, two, _ = ends
    two._accepts[b"Long"] = Long
    long = Long(tuple(range(100_000)))
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


def test_files_come_with_the_beginning_of_a_record_and_only_where_they_may(ends: Ends) -> None:
    one, two, raw = ends
    gc.collect()
    before = open_files()
    two.send(Word(1), files=(0,))
    with pytest.raises(WireError, match="open files, which are not allowed on this channel"):
        one.receive()
    socket.send_fds(raw, [b"\1" + b"x" * PACKET], [0])
    socket.send_fds(raw, [b"\2" + b"x" * PACKET], [0])
    with pytest.raises(WireError, match="open files, which are not allowed on this channel"):
        two.receive()
    socket.send_fds(raw, [b"\0" + pack(Word(2))], [0] * 9)  # the kernel closes those that there is no room for
    assert two.receive() == Word(2)
    assert open_files() == before + MOST_FILES
    assert two.receive() is None
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


FULL = bytes(PACKET)
FIRST, MIDDLE, LAST = b"\1", b"\2", b"\3"


def hear(raw: socket.socket, two: Channel, *packets: bytes) -> object:
    """What comes of packets that a hostile peer writes, each when there is room for it."""
    raw.settimeout(10)
    for packet in packets:
        raw.send(packet)
        if (record := two.receive()) is not None:
            return record
    return None


@pytest.mark.parametrize("longest", [PACKET, 5 * PACKET, MAX_REPORT_BYTES])
def test_a_record_without_end_is_refused(ends: Ends, longest: int) -> None:
    _, two, raw = ends
    two._longest = longest
    fitting = [FIRST + FULL, *[MIDDLE + FULL] * (longest // PACKET - 1)]
    assert hear(raw, two, *fitting) is None
    with pytest.raises(WireError, match=f"more than {longest} bytes"):
        hear(raw, two, MIDDLE + FULL)
    assert two._parts == []


@pytest.mark.parametrize(
    "packets",
    [
        (FIRST + FULL, MIDDLE),
        (FIRST + FULL, LAST),
        (FIRST + FULL, MIDDLE + b"x"),
        (FIRST + FULL[1:],),
        (FIRST + b"{",),
        (b"\0{}", MIDDLE + FULL),
        (b"\0{}", LAST + b"}"),
        (MIDDLE,),
        (b"\4{}",),
        (b"\0" + FULL + b"x",),
    ],
)
def test_a_packet_that_no_sender_writes_is_refused_and_the_channel_goes_on(
    ends: Ends, packets: tuple[bytes, ...]
) -> None:
    one, two, raw = ends
    two._accepts = {}
    if packets[0] == b"\0{}":
        with pytest.raises(WireError):
            hear(raw, two, packets[0])
        two._passed_over = None  # as after any record that was fit
        packets = packets[1:]
    with pytest.raises(WireError, match=r"bytes|without a beginning"):
        hear(raw, two, *packets)
    two._accepts = {b"Word": Word}
    one.send(Word(1))
    assert two.receive() == Word(1)


def test_the_rest_of_what_a_process_before_read_has_an_end(ends: Ends) -> None:
    _, two, raw = ends
    two._longest = 4 * PACKET
    assert hear(raw, two, *[MIDDLE + FULL] * 4) is None
    with pytest.raises(WireError, match="more than"):
        hear(raw, two, MIDDLE + FULL)
    assert hear(raw, two, LAST + b"}") is None
    with pytest.raises(WireError, match="without a beginning"):
        hear(raw, two, LAST + b"}")


def test_records_are_not_begun_and_left_again_and_again(ends: Ends) -> None:
    one, two, raw = ends
    with pytest.raises(WireError, match="too many incomplete records"):
        hear(raw, two, *[FIRST + FULL] * (3 * MAX_UNFINISHED))
    one.send(Word(1))
    assert two.receive() == Word(1)


def test_one_call_reads_so_many_packets_and_the_next_goes_on(ends: Ends) -> None:
    """A peer that writes as fast as it is read: the call comes back all the same, and the record is lost to nobody."""
    one, two, _ = ends
    word = Loose("x" * (3 * MAX_PACKETS) * PACKET)
    two._accepts = {b"Loose": Loose}
    writing = threading.Thread(target=lambda: one.send(word) and [one.flush() for _ in iter(lambda: one.unsent, False)])
    reads: list[int] = []
    read = two._read
    two._read = lambda: (reads.append(1), read())[1]  # type: ignore[method-assign, func-returns-value]
    writing.start()
    record = None
    while record is None:
        reads.clear()
        record = two.receive()
        assert len(reads) <= MAX_PACKETS
    writing.join()
    assert record == word


def numbered(form: str, size: int) -> str:
    """Items of this form with a number in it, of so many bytes together."""
    return ",".join(form % number for number in range(size // len(form % 99999)))


SHAPES = {
    "empty lists": lambda size: "[" + ",".join(["[]"] * (size // 3)) + "]",
    "empty objects": lambda size: "[" + ",".join(["{}"] * (size // 3)) + "]",
    "lists in lists": lambda size: "[" + ",".join(["[[1.5]]"] * (size // 8)) + "]",
    "small objects": lambda size: "[" + ",".join(['{"a":1}'] * (size // 8)) + "]",
    "objects of other keys": lambda size: "[" + numbered('{"%05x":1.5}', size) + "]",
    "one object": lambda size: "{" + numbered('"%05x":1.5', size) + "}",
    "short strings": lambda size: "[" + numbered('"%05x"', size) + "]",
    "numbers": lambda size: "[" + ",".join(["1.5"] * (size // 4)) + "]",
    "integers": lambda size: "[" + ",".join(["999"] * (size // 4)) + "]",
    "a wide string": lambda size: '"' + "x" * (size - 6) + '\U0001f600"',
    "an escaped wide string": lambda size: '"' + "x" * (size - 14) + '\\ud83d\\ude00"',
    "wide strings and lists": lambda size: (
        '["' + "x" * (size // 2) + '\\ud83d\\ude00",' + ",".join(["[]"] * (size // 6)) + "]"
    ),
    "labels": lambda size: "[" + numbered('"n%011d"', size) + "]",
    "commas in a string": lambda size: '"' + "," * (size - 2) + '"',
    "quoted quotes and commas": lambda size: '"' + '\\",' * ((size - 2) // 3) + '"',
}
HARMLESS = {"labels", "commas in a string", "quoted quotes and commas", "an escaped wide string"}


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1_900_000, 7_000_000])
def test_what_a_record_takes_in_memory_is_bounded_whatever_it_is_made_of(ends: Ends, shape: str, size: int) -> None:
    one, two, _ = ends
    two._accepts = {b"Loose": Loose}
    data = f'{{"Loose":{{"value":{SHAPES[shape](size)}}}}}'.encode()
    assert one.send_packed(data)
    gc.collect()
    tracemalloc.start()
    record, refused = None, ""
    while record is None and not refused:
        one._unsent and one.flush()
        try:
            record = two.receive()
        except WireError as error:
            refused = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= max(MAX_MEMORY_FACTOR * len(data), FREE_MEMORY) + 2 * PACKET + 4096, peak / len(data)
    assert (shape in HARMLESS) <= (not refused), refused
    assert not refused or "too many values" in refused


def test_every_report_of_the_largest_box_fits() -> None:
    """512 pipelines, as many as there are lamps for, each with long faults, and every sentence of an answer full."""
    text = "x" * 500
    health = PipelineHealth(30.0, Latency(12.5, 99.5, 99.5), MOST, MOST, text, MOST, MOST)
    running = Running("a" * 64, 1.5, MOST, text, "b" * 64, text, 0.5, 1.5, 2.5, 3.5)
    names = [f"pipeline-{number:03d}" for number in range(512)]
    tallies = tuple(Tally(name, "result", MOST, MOST, MOST) for name in names)
    report = EngineReport(
        "0be0c4",
        "d" * 64,
        dict.fromkeys(names, health),
        dict.fromkeys(names, SourceHealth("ok", 30.0, text)),
        dict.fromkeys(names, running),
        tallies=tallies,
    )
    lines = WhyAnswer(("\U0001f600" * 500,) * 500, ("\U0001f600" * 500,) * 64)
    for record in (report, lines):
        data = pack(record)
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours = Channel(left.detach(), ())
        theirs = Channel(right.detach(), (EngineReport, WhyAnswer), MAX_REPORT_BYTES)
        ours.send_packed(data)
        while (received := theirs.receive()) is None:
            ours.flush()
        assert received == record
        ours.close()
        theirs.close()


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


def test_an_empty_packet_is_no_end(ends: Ends) -> None:
    """Whoever sends one, through an end that others have as well, would else end everybody who reads."""
    one, two, raw = ends
    raw.send(b"")
    one.send(Word(1))
    with pytest.raises(WireError, match="an empty packet") as caught:
        two.receive()
    assert not isinstance(caught.value, ChannelClosedError)
    assert two.receive() == Word(1)
    raw.send(b"")
    raw.close()
    one.close()
    with pytest.raises(ChannelClosedError):
        two.receive()
