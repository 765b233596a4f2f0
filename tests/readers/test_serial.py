"""A sensor at a pseudo terminal, read directly and by a real reader."""

from __future__ import annotations

import errno
import os
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples
from edge_infer.readers.sources import serial
from edge_infer.readers.sources.serial import SerialOptions, SerialSource
from tests.readers.rig import StreamRig, make_plan, until


class Sensor:
    """The device's end of a pseudo terminal at ``port``."""

    def __init__(self) -> None:
        self._fd, self._port = os.openpty()
        self.port = os.ttyname(self._port)

    def say(self, *lines: str) -> None:
        self.send("".join(f"{line}\r\n" for line in lines).encode())

    def send(self, data: bytes) -> None:
        assert os.write(self._fd, data) == len(data)

    def unplug(self) -> None:
        for fd in (self._fd, self._port):
            if fd >= 0:
                os.close(fd)
        self._fd = self._port = -1


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    device = Sensor()
    yield device
    device.unplug()


def rows_of(source: SerialSource, number: int) -> list[list[float]]:
    found: list[list[float]] = []
    while len(found) < number:
        block = source.read()
        assert block is not None
        found += block.values.tolist()
    return found


def test_lines_of_csv(sensor: Sensor) -> None:
    with SerialSource(SerialOptions(sensor.port, columns=("x", "y"), rate=50.0)) as source:
        sensor.say("7,8", "1,2", "3,4")  # the first may be the rest of a longer one
        assert rows_of(source, 2) == [[1, 2], [3, 4]]
        sensor.say("5", "what?", "6,7")
        block = source.read()
        assert block is not None
        assert (block.values.tolist(), block.gap, block.rate) == ([[6, 7]], True, 50.0)
        assert source.faults.count == 2


def test_lines_of_json(sensor: Sensor) -> None:
    with SerialSource(SerialOptions(sensor.port, format="json", columns=("a.z",), rate=50.0)) as source:
        sensor.say("}", '{"a": {"z": 1.5}}')
        assert rows_of(source, 1) == [[1.5]]


def test_binary_frames(sensor: Sensor) -> None:
    options = SerialOptions(sensor.port, format="struct", layout=">hf", header="aa55", rate=50.0)
    frames = [b"\xaa\x55" + struct.pack(">hf", number, number / 2) for number in range(5)]
    with SerialSource(options) as source:
        sensor.send(b"\x11\x13\x03\x04\x0d" + b"".join(frames))  # bytes that a terminal would act upon
        assert rows_of(source, 5) == [[number, number / 2] for number in range(5)]
        assert source.faults.count == 0


def test_the_port_is_raw_at_its_speed_and_taken(sensor: Sensor) -> None:
    with SerialSource(SerialOptions(sensor.port, baud=9600)) as source:
        attributes = termios.tcgetattr(source._fd)
        assert attributes[4:6] == [termios.B9600, termios.B9600]
        assert not attributes[3] & (termios.ICANON | termios.ECHO)
        assert not attributes[2] & termios.HUPCL
        if os.geteuid() != 0:
            with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
                os.open(sensor.port, os.O_RDWR | os.O_NOCTTY)


def test_a_sensor_that_is_unplugged_says_so(sensor: Sensor) -> None:
    with SerialSource(SerialOptions(sensor.port, rate=50.0)) as source:
        sensor.unplug()
        with pytest.raises(SourceError, match="has disappeared: it was unplugged"):
            source.read()


def test_silence_and_garbage_are_told_apart(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "SILENCE", 0.3)
    with SerialSource(SerialOptions(sensor.port, rate=1000.0, baud=9600)) as source:
        with pytest.raises(SourceError, match=r"has sent nothing for 0.3 s: check the sensor"):
            source.read()
        sensor.say("first", "\x8f\x01", "%&/")
        with pytest.raises(SourceError, match=r"no usable data for 0.3 s \(2 faults\).*check baud 9600 and format"):
            source.read()


def test_a_sensor_that_sends_in_bursts_loses_no_row_of_a_burst(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "SILENCE", 0.5)
    monkeypatch.setattr(serial, "STALE", 0.2)
    source = SerialSource(SerialOptions(sensor.port, rate=1000.0))
    with source:
        sensor.say("rest", "1", "2")
        assert rows_of(source, 2) == [[1], [2]]
        with pytest.raises(SourceError, match="has sent nothing"):
            source.read()
    with source:
        with pytest.raises(SourceError, match="has sent nothing"):
            source.read()  # which waits for more than the 0.2 s after which data begins a line
        sensor.say("3", "4")
        assert rows_of(source, 2) == [[3], [4]]
        with pytest.raises(SourceError, match="has sent nothing"):
            source.read()
    with source:
        sensor.say("9", "5", "6")  # at once after the opening: may be the rest of a line
        assert rows_of(source, 2) == [[5], [6]]
    with source:  # opened again for another reason than silence
        monkeypatch.setattr(serial, "SILENCE", 0.1)
        with pytest.raises(SourceError, match="has sent nothing"):
            source.read()
        sensor.say("9", "7")
        assert rows_of(source, 1) == [[7]]
    assert source.faults.count == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"baud": 12345}, "does not support baud 12345; it supports 1200, "),
        ({"format": "struct"}, "needs both layout and header"),
        ({"format": "struct", "layout": "<h"}, "needs both layout and header"),
        ({"layout": "<h"}, "layout belongs to format: struct, but the format is csv"),
        ({"format": "json", "layout": "<h", "header": "aa"}, "layout and header belong to format: struct"),
        ({"format": "struct", "layout": "hh", "header": "aa"}, "should begin with < or >"),
        ({"format": "struct", "layout": "<4s", "header": "aa"}, "the type of each number"),
        ({"format": "struct", "layout": "<999999999h", "header": "aa"}, "at most 4096"),
        ({"format": "struct", "layout": "<hh", "header": "xy"}, "expected pairs of hexadecimal digits"),
        ({"format": "struct", "layout": "<hh", "header": "aa", "columns": ("x",)}, "2 values, columns names 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SerialOptions("/dev/ttyUSB0", **options)  # type: ignore[arg-type]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no device is plugged in there"):
        SerialSource(SerialOptions(str(tmp_path / "ttyUSB0"))).__enter__()
    (tmp_path / "ttyUSB1").write_text("")
    with pytest.raises(SourceError, match="ttyUSB1 is not a serial device"):
        SerialSource(SerialOptions(str(tmp_path / "ttyUSB1"))).__enter__()


def test_a_reader_reads_it_tells_what_is_wrong_and_comes_back(sensor: Sensor, tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.symlink_to(sensor.port)
    plan = make_plan("serial", {"device": str(port), "columns": ["x", "y"], "rate": 20.0})
    with StreamRig(plan, tmp_path) as rig:
        rig.report()
        deadline = time.monotonic() + 20.0
        taken = None
        while taken is None and time.monotonic() < deadline:  # it may not be open yet
            sensor.say("1,2", "x", "1,2")
            taken = rig.feed.next(rig.cursor, 0.1)
        assert isinstance(taken, Samples)
        assert (taken.gap, taken.values[0].tolist()) == (True, [1, 2])
        assert isinstance(rig.feed.health().faults, int)
        sensor.unplug()
        assert str(port) in rig.error("has disappeared")
        another = Sensor()
        port.unlink()
        port.symlink_to(another.port)
        until(lambda: rig.process.poll() if rig.process else None, "end of the reader, whose walls are around the old")
        rig.start()
        while rig.feed.next(rig.cursor, 0.0):
            pass
        taken = None
        while taken is None and time.monotonic() < deadline + 20.0:
            another.say("3,4")
            taken = rig.feed.next(rig.cursor, 0.1)
        assert isinstance(taken, Samples)
        assert (taken.gap, taken.values[0].tolist()) == (True, [3, 4])
        another.unplug()


def test_a_sensor_that_writes_words_in_the_place_of_numbers_goes_on(sensor: Sensor, tmp_path: Path) -> None:
    plan = make_plan("serial", {"device": sensor.port, "columns": ["x", "y", "z"], "rate": 50.0})
    with StreamRig(plan, tmp_path) as rig:
        rig.report()
        until(lambda: sensor.say("0,0,0") or rig.feed.next(rig.cursor, 0.1), "its first rows")
        sensor.say("1,2,3", "error,error,error", "4,5,6", "Battery, low, replace", "7,8,9")
        taken: list[Samples] = []
        while not taken or taken[-1].values[-1].tolist() != [7, 8, 9]:
            found = rig.take()
            assert isinstance(found, Samples)
            taken.append(found)
        assert [each.values[0].tolist() for each in taken if each.gap] == [[4, 5, 6], [7, 8, 9]]
