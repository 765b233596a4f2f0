"""What a reader, restarted, resized or hostile, cannot do to the engine."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pytest

from edge_infer.contract.codec import decode, encode
from edge_infer.contract.messages import MOST, PipelineHealth
from edge_infer.engine.input import frame_receiver
from edge_infer.engine.input.capture import ReaderCapture
from edge_infer.engine.input.feed import Cursor, Feed
from edge_infer.engine.input.frame_receiver import FROM_READER, FrameReceiver
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.frames.frame import Frame
from edge_infer.frames.pixels import Orientation
from edge_infer.ipc.channel import Channel, ChannelClosedError, pack
from edge_infer.ipc.messages import FRAME_SLOTS, FrameFormat, FrameReady, ReaderReport, ReaderTrouble
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.frame_slots import TO_READER, SlotWriter, make_memory
from edge_infer.readers.sources import Picture
from tests.broker import eventually

Capturing: TypeAlias = tuple[Feed, Cursor, SlotWriter, Channel]
PLAN = SourcePlan("cam", "fake", "", live=True, network=False, options={})


def picture(value: int, height: int = 48) -> Picture:
    return Picture(np.full((height, 64, 3), value, np.uint8), "bgr", 1000.0, 1.0)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The reader's end and the engine's."""
    left, right = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    reader, engine = Channel(left, TO_READER), Channel(right, FROM_READER, files=True)
    yield reader, engine
    reader.close()
    engine.close()


@pytest.fixture
def capturing(ends: tuple[Channel, Channel]) -> Iterator[Capturing]:
    """A feed that captures, a pipeline's place in it, who writes for it, and that one's channel."""
    reader, engine = ends
    feed = Feed(PLAN)
    cursor = feed.attach()
    feed.start(ReaderCapture(engine))
    writer = SlotWriter(reader, Orientation())
    eventually(lambda: writer.greetings or writer.poll(), "greeting")
    yield feed, cursor, writer, reader
    feed.close()


def test_a_frame_that_is_held_outlives_the_memory_of_the_next(ends: tuple[Channel, Channel]) -> None:
    reader, engine = ends
    receiver = FrameReceiver(engine)
    receiver.wait(0.0)
    writer = SlotWriter(reader, Orientation())
    writer.write(picture(7))
    assert isinstance(receiver.receive(1.0), FrameReady)
    wanted = FrameFormat(99, 32, 32, "gray")  # a new reader has begun; its first frame is still to come
    memory, _ = make_memory(wanted)
    reader.send(wanted, files=(memory,))
    os.close(memory)
    assert receiver.receive(1.0) is None
    frame = receiver.copy()
    assert frame.size == (64, 48)
    assert (frame.pixels == 7).all()


def test_garbage_from_before_the_engine_was_there_does_not_end_the_capture(ends: tuple[Channel, Channel]) -> None:
    reader, engine = ends
    reader.send(ReaderReport(0.0, 1))  # not on this way
    os.write(reader.fd, b"\0{")
    feed = Feed(PLAN)
    cursor = feed.attach()
    feed.start(ReaderCapture(engine))
    writer = SlotWriter(reader, Orientation())
    eventually(lambda: writer.greetings or writer.poll(), "greeting")
    writer.write(picture(7))
    assert feed.next(cursor, 5.0) is not None
    feed.close()


def test_a_reader_that_starts_again_may_have_a_channel_of_its_own(capturing: Capturing) -> None:
    feed, cursor, old, _ = capturing
    old.write(picture(7))
    first = feed.next(cursor, 5.0)
    assert isinstance(first, Frame)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with right:
        assert feed.renew(left.detach())
        new = SlotWriter(Channel(os.dup(right.fileno()), TO_READER), Orientation())
        eventually(lambda: new.greetings or new.poll(), "greeting")
        new.write(picture(9))
        second = feed.next(cursor, 5.0)
        assert isinstance(second, Frame)
        assert (second.pixels == 9).all()
        assert second.number == first.number + 1
        assert (first.pixels == 7).all()
        with pytest.raises(ChannelClosedError):
            old.write(picture(8))
        new.close()


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ("FrameReady", {"wall": 10**400}),
        ("FrameReady", {"wall": -1.0}),
        ("FrameReady", {"wall": 1e18}),
        ("FrameReady", {"monotonic": -1.7e308}),
        ("FrameReady", {"monotonic": 9e9}),  # a latency below 0, which no report can hold
        ("FrameReady", {"number": 0}),
        ("FrameReady", {"number": 10**4000}),
        ("FrameReady", {"slot": -1}),
        ("FrameReady", {"slot": 10**4000}),
        ("ReaderTrouble", {"text": "half of a \ud800"}),
    ],
)
def test_nothing_that_a_reader_says_ends_the_capture_or_gets_into_a_report(
    capturing: Capturing, record: str, fields: dict[str, object]
) -> None:
    feed, cursor, writer, reader = capturing
    writer.write(picture(7))
    assert feed.next(cursor, 5.0) is not None
    assert writer._format is not None
    sound = {"memory": writer._format.memory, "slot": 0, "number": 2, "wall": 1, "monotonic": 1.0}
    body = {**sound, "repeated": False, "black": False, **fields} if record == "FrameReady" else fields
    os.write(reader.fd, b"\0" + json.dumps({record: body}).encode())
    eventually(lambda: "sent an invalid record" in str(feed.health().error), "what is wrong with it")
    assert pack(feed.health())
    writer.write(picture(8))
    taken = feed.next(cursor, 5.0)
    assert isinstance(taken, Frame)
    assert (taken.pixels == 8).all()


def test_a_memory_that_a_board_does_not_have_is_not_taken(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a hole, which costs its maker nothing, and whoever reads it all of its bytes."""
    reader, engine = ends
    receiver = FrameReceiver(engine)
    receiver.wait(0.0)
    writer = SlotWriter(reader, Orientation())
    writer.write(picture(7))
    assert isinstance(receiver.receive(1.0), FrameReady)
    huge = FrameFormat(99, 16384, 16384, "gray")
    file = os.memfd_create("hole", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, FRAME_SLOTS * 16384**2)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    for wanted in (huge, FrameFormat(99, 4000, 4000, "bgr")):
        reader.send(wanted, files=(file,))
        told = receiver.receive(1.0)
        assert isinstance(told, ReaderTrouble)
        assert f"{FRAME_SLOTS} frames of {wanted.width}x{wanted.height} pixels are too large" in told.text
        assert "MiB for the frames of one source; make the frames smaller" in told.text
        monkeypatch.setattr(frame_receiver, "usable_memory", lambda: 128 << 20)
    os.close(file)


def test_a_reader_that_counts_wildly_stays_within_what_a_report_can_hold(ends: tuple[Channel, Channel]) -> None:
    reader, engine = ends
    receiver = FrameReceiver(engine)
    receiver.wait(0.0)
    writer, watch = SlotWriter(reader, Orientation()), PipelineWatch(0.0)
    for _ in range(3):
        for number in (MOST - 1, 0):
            writer.frames = number
            writer.write(picture(7))
            ready = receiver.receive(1.0)
    assert isinstance(ready, FrameReady)
    assert ready.number > MOST
    watch.dropped = ready.number  # as nobody took one
    assert decode(PipelineHealth, encode(watch.health(0.0, 1))).dropped == MOST


def test_a_pipeline_that_takes_a_frame_while_its_source_is_closed_gets_it(capturing: Capturing) -> None:
    feed, cursor, writer, _ = capturing
    writer.write(picture(7))
    assert feed.wait(cursor, 5.0)
    feed.close()
    taken = feed.next(cursor, 0.0)
    assert isinstance(taken, Frame)
    assert (taken.pixels == 7).all()


FLOOD = """
import os, sys
end = int(sys.argv[1])
record = b'{"memory":1,"slot":0,"number":1,"wall":1,"monotonic":1,"repeated":false,"black":false}'
while True:
    try:
        os.write(end, b'\\0{"FrameReady":' + record + b'}')
    except BlockingIOError:
        continue
"""


def test_a_reader_that_never_stops_talking_does_not_hold_the_engine_up(ends: tuple[Channel, Channel]) -> None:
    reader, engine = ends
    receiver = FrameReceiver(engine)
    floods = [subprocess.Popen([sys.executable, "-c", FLOOD, str(reader.fd)], pass_fds=(reader.fd,)) for _ in range(2)]
    taking = threading.Thread(target=lambda: [receiver.receive(1.0) for _ in range(100)])
    try:
        receiver.wait(10.0)
        taking.start()
        taking.join(10.0)
        came_back = not taking.is_alive()
    finally:
        for flood in floods:
            flood.kill()
            flood.wait(10)
    taking.join(10.0)
    assert came_back
