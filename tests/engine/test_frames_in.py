"""What a reader, restarted, resized or hostile, cannot do to the engine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge_infer.channel import Channel
from edge_infer.config.plan import SourcePlan
from edge_infer.engine.capture import ReaderCapture
from edge_infer.engine.feed import Feed
from edge_infer.engine.frames_in import FROM_READER, FrameReceiver
from edge_infer.readers.orient import Orientation
from edge_infer.readers.slots import TO_READER, SlotWriter, make_memory
from edge_infer.readers.sources import Picture
from edge_infer.rooms import FrameFormat, FrameReady, ReaderReport
from tests.broker import eventually

PLAN = SourcePlan("cam", "fake", "", live=True, network=False, options={})


def picture(value: int, height: int = 48) -> Picture:
    return Picture(np.full((height, 64, 3), value, np.uint8), "bgr", 1000.0, 1.0)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The reader's end and the engine's."""
    left, right = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    reader, engine = Channel(left, TO_READER), Channel(right, FROM_READER)
    yield reader, engine
    reader.close()
    engine.close()


def test_a_frame_that_is_held_outlives_the_memory_of_the_next(ends: tuple[Channel, Channel]) -> None:
    reader, engine = ends
    receiver = FrameReceiver(engine)
    receiver.wait(0.0)
    writer = SlotWriter(reader, Orientation())
    writer.write(picture(7))
    assert isinstance(receiver.receive(1.0), FrameReady)
    wanted = FrameFormat(99, 3, 32, 32, "gray")  # a new reader has begun; its first frame is still to come
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
