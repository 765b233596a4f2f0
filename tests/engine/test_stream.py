"""Samples and lines: everything, in order, to every pipeline; what is lost shows as a gap."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_infer.engine.input.capture import LocalCapture, reader_capture
from edge_infer.engine.input.feed import Cursor, Feed
from edge_infer.engine.input.sample_stream import LARGEST, MOST, SampleStream, make_feed
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Captured, Line, Samples
from edge_infer.frames.pixels import Orientation
from edge_infer.ipc.channel import Channel, ChannelClosedError
from edge_infer.ipc.messages import ReaderHello
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.sample_stream import TO_STREAM_READER, StreamWriter
from edge_infer.readers.sources import Block, Reading, Words
from edge_infer.readers.sources import faults as faults_module
from edge_infer.readers.sources.faults import Faults, settle_all
from tests.broker import eventually

SIGNAL = SourcePlan("mic", "fake", "", live=True, network=False, options={}, gives="samples")
TEXT = SourcePlan("log", "fake", "", live=True, network=False, options={}, gives="text")


class Clock:
    """Stands for the module `time`."""

    now = 0

    def monotonic(self) -> float:
        return float(self.now)


def samples(number: int) -> Samples:
    return Samples(np.full((4, 2), number, np.float32), 100.0, 0.0, time.monotonic(), number)


def old(number: int) -> Samples:
    """One a second."""
    return Samples(np.full((4, 2), number, np.float32), 4.0, 0.0, float(number), number)


def offer(feed: Feed, *numbers: int) -> None:
    for number in numbers:
        feed.offer(number, lambda number=number: samples(number))  # type: ignore[misc]


def drain(feed: Feed, cursor: Cursor) -> list[Captured]:
    taken = []
    while (item := feed.next(cursor, 0.0)) is not None:
        taken.append(item)
    return taken


def test_every_pipeline_gets_everything_in_order() -> None:
    feed = make_feed(SIGNAL)
    cursors = [feed.attach(), feed.attach()]
    offer(feed, 1, 2, 3)
    assert [[item.number for item in drain(feed, cursor)] for cursor in cursors] == [[1, 2, 3]] * 2
    assert not feed.rest(cursors[0])


def test_a_pipeline_that_falls_behind_begins_anew_and_knows_it(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and counted."""
    feed = SampleStream(SIGNAL)
    slow = feed.attach()
    for number in range(1, 2 * MOST + 3):
        feed.offer(number, lambda number=number: old(number))  # type: ignore[misc]
    taken = drain(feed, slow)
    assert [(item.number, item.gap) for item in taken] == [(2 * MOST + 1, True), (2 * MOST + 2, False)]
    assert slow.dropped == 2 * MOST
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"data dropped or damaged: readings of source mic dropped because a pipeline was too slow ({MOST} so far)"
    ]


def test_a_burst_waits_for_a_pipeline() -> None:
    feed = SampleStream(SIGNAL)
    slow = feed.attach()
    offer(feed, *range(1, 20_001))
    assert [item.number for item in drain(feed, slow)] == list(range(1, 20_001))
    assert slow.dropped == 0


def test_a_reader_of_long_stretches_does_not_fill_the_memory() -> None:
    feed, whole = SampleStream(SIGNAL), np.zeros((LARGEST // 4 // 8, 1), np.float32)  # the eighth part of what may wait
    slow = feed.attach()
    for number in range(1, 14):
        item = Samples(whole if number % 2 else whole[:1], 100.0, 0.0, time.monotonic(), number)
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
        assert sum(each.values.nbytes for each in slow.waiting if isinstance(each, Samples)) <= LARGEST
    assert slow.dropped == 8
    assert [each.gap for each in slow.waiting] == [True, False, False, False, False]


class Tape:
    """A source of so many blocks or lines."""

    live = noisy = network = False
    lossless = True

    def __init__(self, *readings: Reading) -> None:
        self._left = list(readings)

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def read(self) -> Reading | None:
        return self._left.pop(0) if self._left else None


def test_a_file_of_samples_waits_for_the_slowest_pipeline() -> None:
    blocks = [Block(np.full((4, 1), number, np.float32), 100.0, 0.0, 0.0) for number in range(200)]
    feed = make_feed(SIGNAL)
    cursor = feed.attach()
    feed.start(LocalCapture(Tape(*blocks), Orientation()))  # type: ignore[arg-type]
    taken: list[Captured] = []
    eventually(lambda: taken.extend(drain(feed, cursor)) or len(taken) == 200, "end of the tape")
    feed.close()
    assert [float(item.values[0, 0]) for item in taken if isinstance(item, Samples)] == list(range(200))
    assert [item.gap for item in taken] == [True] + [False] * 199


@pytest.fixture
def way() -> Iterator[tuple[int, StreamWriter]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer = StreamWriter(Channel(right.detach(), TO_STREAM_READER))
    ended = threading.Event()

    def report() -> None:  # as the reader's second thread does
        while not ended.wait(0.02):
            writer.tell_counts()

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    yield left.detach(), writer
    ended.set()
    thread.join()
    writer.close()


def test_what_a_reader_says_arrives_as_it_was(way: tuple[int, StreamWriter]) -> None:
    fd, writer = way
    feed = make_feed(SIGNAL)
    cursor = feed.attach()
    feed.start(reader_capture(SIGNAL, fd))
    values = np.array([[1.5, -2.25], [3e-7, 4e9], [0.0, -0.0]], np.float32)
    assert writer.write(Block(values, 16_000.0, 12.5, 3.5))
    taken = feed.next(cursor, 10.0)
    assert isinstance(taken, Samples)
    assert np.array_equal(taken.values, values)
    assert (taken.rate, taken.wall, taken.monotonic, taken.gap) == (16_000.0, 12.5, 3.5, False)
    assert writer.write(Block(values, 16_000.0, 13.0, 4.0, gap=True))
    taken = feed.next(cursor, 10.0)
    assert taken is not None
    assert taken.gap
    feed.close()


def test_a_reader_that_is_not_heard_drops_and_the_gap_shows(
    way: tuple[int, StreamWriter], caplog: pytest.LogCaptureFixture
) -> None:
    fd, writer = way
    block = Block(np.zeros((2_000, 1), np.float32), 16_000.0, 0.0, 0.0)
    sent = 0
    while writer.write(block):
        sent += 1
    assert not writer.write(block)
    assert [record.getMessage() for record in caplog.records] == [
        "data dropped or damaged: readings that did not fit into the engine's queue (1 so far)"
    ]
    feed = make_feed(SIGNAL)
    cursor = feed.attach()
    feed.start(reader_capture(SIGNAL, fd))
    eventually(lambda: len(cursor.waiting) == sent, "what was sent")
    eventually(lambda: writer.write(block), "room")
    taken: list[Captured] = []
    eventually(lambda: taken.extend(drain(feed, cursor)) or len(taken) == sent + 1, "the rest")
    assert [item.gap for item in taken] == [False] * sent + [True]
    assert taken[-1].number == writer.frames
    assert cursor.dropped == writer.frames - sent - 1
    feed.close()


def test_what_was_dropped_is_known_before_another_reading_comes(way: tuple[int, StreamWriter]) -> None:
    """The source may be silent after a burst that an engine which stood still had no room for."""
    fd, writer = way
    block = Block(np.zeros((2_000, 1), np.float32), 16_000.0, 0.0, 0.0)
    while writer.write(block):
        pass
    assert not writer.write(block)
    writer.tell_counts()  # there is no room, and it does not wait
    feed = make_feed(SIGNAL)
    cursor = feed.attach()
    feed.start(reader_capture(SIGNAL, fd))
    eventually(lambda: cursor.dropped == 2, "the count")
    drain(feed, cursor)
    assert writer.write(block)
    taken = feed.next(cursor, 10.0)
    assert taken is not None
    assert taken.gap
    assert taken.number == writer.frames
    assert cursor.dropped == 2
    feed.close()


def test_what_a_source_leaves_out_is_known_before_a_reading_and_over_its_openings(
    way: tuple[int, StreamWriter],
) -> None:
    fd, writer = way
    feed = make_feed(TEXT)
    feed.start(reader_capture(TEXT, fd))
    for opening in range(3):
        writer.follow(faults := Faults(quiet=True))
        faults.note("a line that is too long", 20)
        eventually(lambda: feed.health().faults == 20 * (opening + 1), "the count")  # noqa: B023
    feed.close()


def test_the_log_gives_the_number_that_was_reached(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first, once more when it is quiet, and then once a minute however often it is quiet."""
    monkeypatch.setattr(faults_module, "time", clock := Clock())
    faults = Faults()
    for clock.now in range(1000, 1130):
        if clock.now < 1002 or 1020 <= clock.now < 1100:
            faults.note("a line that is too long", 5)
        settle_all()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"data dropped or damaged: a line that is too long ({number} so far)" for number in (5, 10, 235, 410)
    ]


def test_lines_arrive_and_a_quiet_source_of_text_is_not_lost(way: tuple[int, StreamWriter]) -> None:
    fd, writer = way
    feed = make_feed(TEXT)
    cursor = feed.attach()
    feed.start(reader_capture(TEXT, fd))
    assert feed.blocked() is None
    assert writer.write(Words("Ein Grüß Gott", 1.0, 2.0))
    taken = feed.next(cursor, 10.0)
    assert isinstance(taken, Line)
    assert taken.text == "Ein Grüß Gott"
    assert writer.trouble("the pipe is broken")
    eventually(lambda: feed.health().error == "the pipe is broken", "trouble")
    feed.close()


@pytest.mark.parametrize("gone", [False, True])
def test_a_reader_that_starts_again_may_have_a_channel_of_its_own(way: tuple[int, StreamWriter], gone: bool) -> None:
    """What its predecessor left behind is not heard any more, and may even have closed the channel."""
    fd, old = way
    feed = make_feed(TEXT)
    cursor = feed.attach()
    assert not feed.renew(fd), "nothing captures yet"
    feed.start(reader_capture(TEXT, fd))
    assert old.write(Words("one", 1.0, 2.0))
    assert feed.next(cursor, 10.0) is not None
    if gone:
        old.close()
        eventually(lambda: feed.health().error == "its reader has ended", "trouble")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    new = StreamWriter(Channel(right.detach(), TO_STREAM_READER))
    assert feed.renew(left.detach())
    assert new.write(Words("two", 3.0, 4.0))
    eventually(lambda: new.tell_counts() and new.greetings, "the greeting")
    taken = feed.next(cursor, 10.0)
    assert isinstance(taken, Line)
    assert taken.text == "two"
    if not gone:
        with pytest.raises(ChannelClosedError):
            old.write(Words("three", 5.0, 6.0))
    feed.close()
    assert not feed.renew(fd)
    new.close()


def test_nonsense_of_a_reader_is_told_and_survived() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    feed = make_feed(SIGNAL)
    cursor = feed.attach()
    feed.start(reader_capture(SIGNAL, left.detach()))
    right.send(b'\0{"StreamBegin":{}}')
    right.send(b'\0{"SamplesReady":{"number":1,"values":"!!!!"}}')
    eventually(lambda: "sent an invalid record" in str(feed.health().error), "word of nonsense")
    sound = '"number":1,"wall":1,"rate":1,"channels":1,"values":"","gap":false,"repeated":false'
    right.send(f'\0{{"SamplesReady":{{{sound},"monotonic":9e9}}}}'.encode())
    eventually(lambda: "in the future" in str(feed.health().error), "word of a time to come")
    never = sound.replace('"rate":1', '"rate":5e-324')  # whose samples were captured an eternity ago
    right.send(f'\0{{"SamplesReady":{{{never},"monotonic":1}}}}'.encode())
    eventually(lambda: "rate" in str(feed.health().error), "word of a rate that is none")
    for faults in (2**53, 0, 2**53):
        right.send(f'\0{{"SamplesReady":{{{sound},"monotonic":1,"faults":{faults}}}}}'.encode())
    eventually(lambda: feed.health().faults == 2**53, "what a report can hold at most")
    writer = StreamWriter(Channel(right.detach(), TO_STREAM_READER))
    assert writer.write(Block(np.zeros((2, 1), np.float32), 1.0, 0.0, 0.0))
    assert feed.next(cursor, 10.0) is not None
    feed.close()
    writer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "capture-mic"]


def test_the_last_count_is_logged_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    faults.note("the publisher is too slow")
    faults.note("the publisher is too slow", 31766)
    settle_all(math.inf)
    settle_all(math.inf)
    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == ["1 so far)", "31767 so far)"]


def test_counts_go_on_after_the_last_one_was_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recording may follow in the same process."""
    monkeypatch.setattr(faults_module, "time", clock := Clock())
    faults = Faults()
    for clock.now in (1000, 2000):
        faults.note("a row without its value")
        settle_all(math.inf)
    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == ["1 so far)", "2 so far)"]


@pytest.mark.parametrize("again", [False, True], ids=["sent", "not sent to the next engine"])
def test_a_reader_that_stops_logs_as_lost_only_what_was_not_sent(
    caplog: pytest.LogCaptureFixture, *, again: bool
) -> None:
    engine, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left = Channel(engine.detach(), ())
    writer = StreamWriter(Channel(reader.detach(), TO_STREAM_READER), holds_writer=True)
    assert writer.write(Words("one", 1.0, 2.0))
    assert writer.write(Words("two", 1.0, 2.0))
    if again:
        assert left.send(ReaderHello())
    writer.hurry(time.monotonic() + 0.05)
    writer.await_finished()
    assert [record.getMessage() for record in caplog.records] == [
        "data dropped or damaged: readings not sent to the engine before the reader stopped (2 so far)"
        if again
        else "the reader stopped before the engine confirmed 2 readings; they may be lost"
    ]
    writer.close()
    left.close()


def test_a_sample_of_too_many_values_is_an_error_of_the_source() -> None:
    """The engine would take the record for an attack, and have the reader killed."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer = StreamWriter(Channel(right.detach(), TO_STREAM_READER))
    with pytest.raises(SourceError, match="a sample has 5000 values; at most 4096"):
        writer.write(Block(np.zeros((1, 5000), np.float32), 1.0, 0.0, 0.0))
    writer.close()
    left.close()
