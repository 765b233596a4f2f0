"""Slots, seals and the comparison of frames, without a process between the two ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.input.frame_receiver import FROM_READER, NOT_LENT, FrameReceiver
from edge_infer.errors import SourceError, WireError
from edge_infer.frames.frame import Pixels
from edge_infer.frames.pixels import Orientation
from edge_infer.frames.timing import Pacer
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import (
    FRAME_SLOTS,
    FrameFormat,
    FrameReady,
    FramesWanted,
    ReaderHello,
    ReaderTrouble,
    SlotFree,
)
from edge_infer.plan.records import Color
from edge_infer.readers.frame_slots import TO_READER, SlotWriter, is_black, make_memory, same
from edge_infer.readers.sources import Picture


def picture(value: int, height: int = 48, width: int = 64, color: Color = "bgr") -> Picture:
    shape = (height, width) if color == "gray" else (height, width, 3)
    return Picture(np.full(shape, value, np.uint8), color, 1000.0 + value, 1.0 + value / 1000)


@pytest.fixture
def ends() -> Iterator[tuple[SlotWriter, FrameReceiver, Channel]]:
    """A writer, a receiver, and the writer's bare channel to do wrong with."""
    left, right = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    raw = Channel(os.dup(left), TO_READER)
    writer, receiver = (
        SlotWriter(Channel(left, TO_READER), Orientation()),
        FrameReceiver(Channel(right, FROM_READER, files=True)),
    )
    receiver.wait(0.0)  # says hello
    yield writer, receiver, raw
    for end in (writer, receiver, raw):
        end.close()
        end.close()


def taken(receiver: FrameReceiver) -> FrameReady:
    event = receiver.receive(1.0)
    assert isinstance(event, FrameReady)
    return event


def test_a_frame_crosses_with_times_and_number(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    assert writer.write(picture(7))
    assert receiver.wait(1.0)
    event = taken(receiver)
    frame = receiver.copy()
    assert (event.number, event.repeated, event.black) == (1, False, True)
    assert (frame.wall, frame.monotonic, frame.color, frame.size) == (1007.0, 1.007, "bgr", (64, 48))
    assert (frame.pixels == 7).all()
    assert receiver.receive() is None


def test_frames_are_dropped_and_counted_while_every_slot_is_held(
    ends: tuple[SlotWriter, FrameReceiver, Channel],
) -> None:
    writer, receiver, _ = ends
    assert [writer.write(picture(value)) for value in range(FRAME_SLOTS + 2)] == [True] * FRAME_SLOTS + [False, False]
    assert taken(receiver).number == FRAME_SLOTS
    assert writer.write(picture(50))
    assert taken(receiver).number == FRAME_SLOTS + 3
    assert (receiver.copy().pixels == 50).all()


def test_what_was_captured_before_this_engine_is_not_missing_in_it(
    ends: tuple[SlotWriter, FrameReceiver, Channel],
) -> None:
    writer, receiver, _ = ends
    assert all(writer.write(picture(value)) for value in range(3))  # for an engine that has died
    receiver._greet()
    assert [writer.write(picture(value)) for value in range(FRAME_SLOTS + 2)] == [True] * FRAME_SLOTS + [False, False]
    assert taken(receiver).number == FRAME_SLOTS
    assert writer.write(picture(50))
    assert taken(receiver).number == FRAME_SLOTS + 3


def test_a_release_for_old_memory_frees_nothing(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.write(picture(1))
    old = taken(receiver)
    for value in range(FRAME_SLOTS):
        assert writer.write(picture(value, 64, 48))
    for slot in range(FRAME_SLOTS):
        receiver._channel.send(SlotFree(old.memory, slot))
    assert not writer.write(picture(5, 64, 48))
    assert taken(receiver).number == FRAME_SLOTS + 1
    assert receiver.copy().size == (48, 64)


def test_what_is_looked_at_holds_for_one_memory(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    receiver.want(5.0)  # nobody to tell yet
    writer.write(picture(1))
    old = taken(receiver)
    for looks in (5.0, None, 1500.0, 3.0):
        receiver.want(looks)
        writer.poll()
        assert writer.looks == looks
    writer.write(picture(1, 64, 48))
    assert writer.looks is None
    taken(receiver)
    receiver._channel.send(FramesWanted(old.memory, 7.0))
    writer.poll()
    assert writer.looks is None
    receiver.want(3.0)
    writer.poll()
    assert writer.looks == 3.0


@pytest.mark.parametrize("looks", [0.0, -1.0, 1e9])
def test_rates_that_are_none_are_refused(looks: float, ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.write(picture(1))
    receiver._channel.send(FramesWanted(taken(receiver).memory, looks))
    with pytest.raises(WireError):
        writer.poll()


def test_gray_and_colour_follow_each_other(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    for color in ("gray", "rgb", "gray"):
        writer.write(picture(9, color=color))
        taken(receiver)
        assert receiver.copy().color == color
        assert receiver.copy().pixels.ndim == (2 if color == "gray" else 3)


def test_repeated_frames_are_known_across_those_that_were_skipped(
    ends: tuple[SlotWriter, FrameReceiver, Channel],
) -> None:
    writer, receiver, _ = ends
    writer.write(picture(100))
    assert not taken(receiver).repeated
    writer.write(picture(100))
    assert taken(receiver).repeated
    writer.write(picture(101))
    writer.write(picture(101))
    assert not taken(receiver).repeated


def test_trouble_and_frames_keep_their_order(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.trouble("gone")
    writer.write(picture(1))
    assert taken(receiver).number == 1
    assert receiver.receive() is None
    writer.write(picture(2))
    writer.trouble("gone again")
    assert taken(receiver).number == 2
    assert receiver.wait(0.0)
    assert receiver.receive() == ReaderTrouble("gone again")


def test_memory_cannot_change_its_size() -> None:
    fd, memory = make_memory(FrameFormat(1, 48, 64, "bgr"))
    assert memory.shape == (FRAME_SLOTS, 48, 64, 3)
    for size in (0, 1, memory.size + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):
        with pytest.raises(PermissionError):
            os.fchmod(fd, 0o700)  # nobody makes a program of it
    os.close(fd)


def unsealed(size: int) -> int:
    fd = os.memfd_create("hostile")
    os.ftruncate(fd, size)
    return fd


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        (FrameFormat(1, 48, 64, "bgr"), 48 * 64 * 15),
        (FrameFormat(1, 0, 64, "bgr"), 4096),
        (FrameFormat(1, -1, 64, "bgr"), 4096),
        (FrameFormat(1, 100_000, 100_000, "bgr"), 4096),
    ],
)
def test_a_hostile_reader_is_told_and_not_mapped(
    ends: tuple[SlotWriter, FrameReceiver, Channel], wanted: FrameFormat, size: int
) -> None:
    writer, receiver, raw = ends
    fd = unsealed(size)
    raw.send(wanted, files=(fd,))
    os.close(fd)
    event = receiver.receive(1.0)
    assert isinstance(event, ReaderTrouble)
    assert "sent an invalid record" in event.text
    writer.write(picture(3))
    assert taken(receiver).number == 1


def test_a_slot_that_is_none_is_told(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, raw = ends
    writer.write(picture(3))
    memory = taken(receiver).memory
    raw.send(FrameReady(memory, 99, 2, 0.0, 0.0, repeated=False, black=False))
    raw.send(ReaderHello())
    assert isinstance(receiver.receive(1.0), ReaderTrouble)
    assert isinstance(receiver.receive(1.0), ReaderTrouble)


def test_the_receiver_can_read_but_not_write(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.write(picture(3))
    taken(receiver)
    pixels = receiver.lend().pixels
    assert not pixels.flags.writeable
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        pixels.base.flags.writeable = True  # type: ignore[union-attr]


def test_an_impossible_frame_is_a_trouble_of_the_source(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, _, _ = ends
    with pytest.raises(SourceError, match="not enough memory for frames of 20000x1 pixels"):
        writer.write(picture(3, 1, 20_000))


@pytest.mark.parametrize("shape", [(48, 64, 3), (47, 63, 3), (48, 64), (1, 1)])
def test_sameness_is_of_every_byte(shape: tuple[int, ...]) -> None:
    left: Pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    right = left.copy()
    assert same(left, right)
    for place in (0, left.size // 2, left.size - 1):
        right.reshape(-1)[place] ^= 1
        assert not same(left, right)
        right.reshape(-1)[place] ^= 1


def test_black_is_dark_nearly_everywhere() -> None:
    pixels: Pixels = np.random.default_rng(1).integers(0, 32, (480, 640, 3), dtype=np.uint8)
    assert is_black(pixels)
    pixels[:8] = 255
    assert not is_black(pixels) or pixels[::16, ::16].max() < 32
    pixels[:48] = 255
    assert not is_black(pixels)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [None, "horizontal", "vertical"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_rotation_is_clockwise_and_comes_before_mirroring(
    rotate: int, flip: str | None, shape: tuple[int, ...]
) -> None:
    pixels: Pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    wanted = np.rot90(pixels, -rotate // 90)
    wanted = wanted[:, ::-1] if flip == "horizontal" else wanted[::-1] if flip == "vertical" else wanted
    turned = Orientation(rotate, flip).copy(pixels)  # type: ignore[arg-type]
    assert (turned == wanted).all()
    assert not np.shares_memory(turned, pixels)


@pytest.mark.parametrize(("source", "limit", "passed"), [(30, 5, 50), (30, 30, 300), (10, 30, 100), (30, 20, 200)])
def test_a_rate_limit_holds_on_average(source: int, limit: int, passed: int) -> None:
    """Ten seconds of a source whose frames come up to 5 ms late."""
    jitter = np.random.default_rng(1).uniform(0, 0.005, source * 10)
    pacer = Pacer(float(limit))
    count = sum(pacer.due(index / source + late) for index, late in enumerate(jitter))
    assert passed * 0.97 <= count <= passed + 1


def test_frames_that_are_a_little_early_all_pass() -> None:
    jitter = np.random.default_rng(1).uniform(-0.2, 0.2, 300)
    pacer = Pacer(1.0)
    assert all(pacer.due(index + off) for index, off in enumerate(jitter))


@pytest.mark.parametrize("phase", [0.0, 0.01, 0.05, 0.09])
def test_who_waits_for_a_turn_takes_a_fresh_frame_and_the_rate_holds(phase: float) -> None:
    """Ten frames a second, five wanted; what is taken is the first frame after the wait."""
    pacer, taken, now = Pacer(5.0), 0, phase
    while now < 60.0:
        now += pacer.left(now)
        now = np.ceil(round(now * 10, 6)) / 10  # the next frame
        assert pacer.due(now)
        taken += 1
        now += 0.004  # what a frame takes
    assert abs(taken - 300) <= 1


def test_no_limit_lets_everything_pass() -> None:
    pacer = Pacer(None)
    assert all(pacer.due(float(now)) for now in (0, 0, 1, 1))


def passed(pacer: Pacer, begin: float, seconds: float) -> int:
    """How many frames of 30 a second are taken in this time."""
    return sum(pacer.due(begin + index / 30) for index in range(round(seconds * 30)))


@pytest.mark.parametrize(
    ("fps", "most", "rate"), [(None, 2.0, 2), (5.0, 2.0, 2), (5.0, 20.0, 5), (5.0, None, 5), (None, None, 30)]
)
def test_a_pacer_that_is_held_back_goes_on_as_before_afterwards(
    fps: float | None, most: float | None, rate: float
) -> None:
    pacer = Pacer(fps)
    before = passed(pacer, 0.0, 20.0)
    pacer.restrain(most)
    assert abs(passed(pacer, 20.0, 20.0) - 20 * rate) <= 1
    pacer.restrain(None)
    assert abs(passed(pacer, 40.0, 20.0) - before) <= 16  # half a second that it had to wait


def test_memory_of_earlier_formats_is_let_go(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    before = len(list(Path("/proc/self/fd").iterdir()))
    for index in range(50):
        writer.write(picture(1, 16 + index % 2))
        taken(receiver)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
    maps = Path("/proc/self/maps").read_text().count("edge-infer-frames")
    assert maps <= 4


def test_what_is_lent_is_not_written_while_anybody_has_a_part_of_it(
    ends: tuple[SlotWriter, FrameReceiver, Channel],
) -> None:
    writer, receiver, _ = ends
    parts = []
    for value in (7, 8):
        writer.write(picture(value))
        taken(receiver)
        parts.append(receiver.lend().pixels[10:20, ::2, 1])  # the frame itself is gone at once
    for value in range(100, 100 + 4 * FRAME_SLOTS):
        assert writer.write(picture(value)), "the reader ran out of slots"
        assert (receiver.lend().pixels == value).all() if taken(receiver) else False
    assert [set(part.flat) for part in parts] == [{7}, {8}]


def test_no_more_is_lent_than_the_reader_can_do_without(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    frames = []
    for value in range(3 * FRAME_SLOTS):
        assert writer.write(picture(value)), "the reader ran out of slots"
        taken(receiver)
        frames.append(receiver.lend())
    assert [set(frame.pixels.flat) for frame in frames] == [{value} for value in range(3 * FRAME_SLOTS)]
    assert [frame.pixels.flags.owndata for frame in frames] == [False] * (FRAME_SLOTS - NOT_LENT) + [True] * (
        len(frames) - FRAME_SLOTS + NOT_LENT
    )


def test_what_is_lent_outlives_its_reader_and_its_receiver(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.write(picture(7))
    taken(receiver)
    frame = receiver.lend()
    for end in (writer, receiver):
        end.close()
    assert (frame.pixels == 7).all()


def test_a_frame_that_is_taken_twice_comes_back_once(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    writer.write(picture(7))
    ready = taken(receiver)
    frames = [receiver.lend(), receiver.lend()]
    writer.write(picture(8))
    held = taken(receiver)
    frames.pop()
    writer.poll()
    assert ready.slot not in writer._free
    frames.pop()
    receiver.receive()
    writer.poll()
    assert sorted(writer._free) == [slot for slot in range(FRAME_SLOTS) if slot != held.slot]


def test_a_picture_that_lies_in_its_place_is_not_copied(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    assert writer.place() is None, "nobody knows how large pictures are"
    writer.write(picture(7))
    first = taken(receiver)
    place = writer.place()
    assert place is not None
    place[...] = 8
    writer.write(replace(picture(0), pixels=place))
    assert taken(receiver).slot != first.slot
    assert (receiver.lend().pixels == 8).all()
    place[...] = 9  # there is one memory, and this is where it lies
    assert (receiver.lend().pixels == 9).all()


def test_a_place_of_before_is_none_for_an_engine_that_comes_meanwhile(
    ends: tuple[SlotWriter, FrameReceiver, Channel],
) -> None:
    writer, receiver, _ = ends
    writer.write(picture(7))
    taken(receiver)
    place = writer.place()
    assert place is not None
    place[...] = 8
    receiver._channel.send(ReaderHello())
    writer.write(replace(picture(0), pixels=place))  # into other memory, which it tells of
    taken(receiver)
    lent = receiver.lend()
    place[...] = 9
    assert (lent.pixels == 8).all()


def test_a_picture_that_has_to_be_turned_has_no_place(ends: tuple[SlotWriter, FrameReceiver, Channel]) -> None:
    writer, receiver, _ = ends
    turning = SlotWriter(writer._channel, Orientation(90))
    turning.write(picture(7))
    assert taken(receiver).slot == 0
    assert turning.place() is None
