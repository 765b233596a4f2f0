"""Buffers of industrial I/O sensors: a folder laid out like theirs, and a pipe for the character device."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.iio import IioOptions, IioSource
from edge_infer.readers.sources.iio_buffer import Element, Scan
from tests.readers.rig import StreamRig, make_plan

MILLISECOND = 1_000_000


def put(folder: Path, **files: object) -> None:
    for name, value in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")


class Sensor:
    """An accelerometer of 1 kHz and a thermometer in one, with timestamps; what is written goes into its buffer."""

    def __init__(self, root: Path) -> None:
        self.root, self.dev = root / "devices", root / "dev"
        self.folder = self.root / "iio:device3"
        put(
            self.folder,
            name="imu",
            in_accel_x_raw=0,
            in_accel_scale=0.5,
            in_temp_offset=-10,
            in_temp_scale=2,
            sampling_frequency=100,
            sampling_frequency_available="100 1000",
            buffer__enable=0,
            buffer__length=2,
            trigger__current_trigger="",
        )
        types = {"accel_x": "le:s12/16>>4", "accel_y": "le:s12/16>>4", "temp": "be:u8/8", "timestamp": "le:s64/64>>0"}
        for index, (name, kind) in enumerate(types.items()):
            put(
                self.folder / "scan_elements",
                **{f"in_{name}_{key}": value for key, value in [("en", 0), ("index", index), ("type", kind)]},
            )
        put(self.root / "trigger7", name="clock", sampling_frequency=10)
        self.dev.mkdir()
        self.node = self.dev / "iio:device3"
        os.mkfifo(self.node)
        self.end = os.open(self.node, os.O_RDWR)  # a pipe without a writer would end

    def options(self, *channels: str, rate: float = 1000.0, trigger: str | None = None) -> IioOptions:
        return IioOptions("imu", channels, rate, str(self.root), buffer=True, trigger=trigger, dev=str(self.dev))

    def scan(self, number: int, x: int, temp: int = 30) -> bytes:
        """One scan of ``accel_x``, ``temp`` and the timestamp: 2 bytes, 1, 5 of padding, 8."""
        return struct.pack("<hB5xq", x << 4, temp, number * MILLISECOND)

    def says(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def close(self) -> None:
        os.close(self.end)


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    found = Sensor(tmp_path)
    yield found
    found.close()


def rows(source: IioSource, number: int) -> list[Block]:
    """Blocks until there are so many rows."""
    found: list[Block] = []
    while sum(len(block.values) for block in found) < number:
        block = source.read()
        assert block is not None
        found.append(block)
    return found


def test_it_is_set_up_read_and_stopped(sensor: Sensor) -> None:
    source = IioSource(sensor.options("temp", "x"))
    with source:
        states = [sensor.says(f"scan_elements/in_{name}_en") for name in ("accel_x", "accel_y", "temp", "timestamp")]
        assert states == ["1", "0", "1", "1"]
        assert sensor.says("sampling_frequency") == "1000"
        assert (sensor.says("buffer/length"), sensor.says("buffer/enable")) == ("2000", "1")
        data = b"".join(sensor.scan(number, x, 100) for number, x in enumerate((-2048, -1, 0, 2047)))
        os.write(sensor.end, data[:30])
        os.write(sensor.end, data[30:])
        found = rows(source, 4)
    assert np.concatenate([block.values for block in found]).tolist() == [
        [180.0, -1024.0],
        [180.0, -0.5],
        [180.0, 0.0],
        [180.0, 1023.5],
    ]
    assert [(block.rate, block.gap) for block in found] == [(1000.0, False)] * len(found)
    assert sensor.says("buffer/enable") == "0"
    source.close()


def test_what_the_kernel_lost_is_counted_and_a_gap(sensor: Sensor) -> None:
    with IioSource(sensor.options("x", "temp")) as source:
        os.write(sensor.end, b"".join(sensor.scan(number, number) for number in (1, 2, 6, 7, 10)))
        found = rows(source, 5)
        assert [block.values[:, 0].tolist() for block in found] == [[0.5, 1.0], [3.0, 3.5], [5.0]]
        assert [block.gap for block in found] == [False, True, True]
        assert source.faults.count == 3 + 2
        assert "5 samples lost because its buffer was full" in source.faults.last
        assert found[1].monotonic - found[0].monotonic == pytest.approx(0.002)
        os.write(sensor.end, sensor.scan(13, 0))
        (block,) = rows(source, 1)
        assert (block.gap, source.faults.count) == (True, 7)


def test_the_rate_of_a_trigger_is_that_of_the_samples(sensor: Sensor) -> None:
    with IioSource(sensor.options("x", "temp", rate=200.0, trigger="clock")) as source:
        assert sensor.says("trigger/current_trigger") == "clock"
        assert (sensor.root / "trigger7" / "sampling_frequency").read_text() == "200"
        os.write(sensor.end, sensor.scan(5, 1))
        assert rows(source, 1)[0].rate == 200.0
    assert sensor.says("sampling_frequency") == "100"


def test_a_buffer_that_somebody_else_runs_is_left_alone(sensor: Sensor) -> None:
    put(sensor.folder, buffer__enable=1, sampling_frequency=1010)
    put(sensor.folder / "scan_elements", in_accel_x_en=1, in_timestamp_en=1)
    states = {file: file.stat().st_mtime_ns for file in sensor.folder.rglob("*") if file.is_file()}
    with IioSource(sensor.options("accel_x")) as source:
        os.write(sensor.end, struct.pack("<h6xq", -16, 0))
        assert rows(source, 1)[0].values.tolist() == [[-0.5]]
    assert {file: file.stat().st_mtime_ns for file in states} == states
    assert sensor.says("buffer/enable") == "1"


def test_a_sensor_that_goes_is_told_and_one_that_is_silent_can_be_left(sensor: Sensor) -> None:
    with IioSource(sensor.options("x", "temp")) as source:
        threading.Timer(0.1, source.interrupt).start()
        assert source.read() is None
    with IioSource(sensor.options("x", "temp")) as source:
        os.write(sensor.end, sensor.scan(1, 1) + b"half")
        assert len(rows(source, 1)) == 1
        os.close(sensor.end)
        sensor.end = os.open(os.devnull, os.O_RDWR)
        with pytest.raises(SourceError, match=r"iio:device3 has disappeared: the sensor was removed"):
            source.read()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"in_accel_x_type": "le:s12/16X4>>4"}, r"accel_x has 4 numbers a sample \(le:s12/16X4>>4\)"),
        ({"in_accel_x_type": "12 bits"}, "accel_x has the type '12 bits'; expected one such as le:s12/16>>4"),
        ({"in_accel_x_type": "le:s14/16>>4"}, "its bits do not fit into its storage"),
        ({"in_accel_x_index": "first"}, "accel_x has the index 'first'; expected a number"),
    ],
)
def test_scans_that_cannot_be_read_are_told(sensor: Sensor, change: dict[str, str], words: str) -> None:
    put(sensor.folder / "scan_elements", **change)
    with pytest.raises(SourceError, match=words):
        IioSource(sensor.options("x")).__enter__()
    assert sensor.says("buffer/enable") == "0"


def test_what_is_not_there_or_not_allowed_is_told(sensor: Sensor) -> None:
    with pytest.raises(
        SourceError, match="imu: it has no channel pressure; its channels with a buffer are accel_x, acc"
    ):
        IioSource(sensor.options("pressure")).__enter__()
    file = sensor.folder / "sampling_frequency"
    file.unlink()
    file.symlink_to("/proc/version")  # nobody writes there
    with pytest.raises(SourceError, match=r"sampling_frequency cannot be set to 1000: .*; set the buffer up as root"):
        IioSource(sensor.options("x")).__enter__()
    file.unlink()
    file.symlink_to("/proc/self/coredump_filter")  # it has nine bits, and so makes another number of a large one
    before = file.read_text()
    with pytest.raises(
        SourceError, match="iio:device3 delivers 00000188 samples a second, not 5000; it supports 100 1000"
    ):
        IioSource(sensor.options("x", rate=5000.0)).__enter__()
    file.write_text(f"0x{before}")
    sensor.node.unlink()
    (sensor.folder / "sampling_frequency").unlink()
    with pytest.raises(SourceError, match="dev/iio:device3 cannot be read: No such file"):
        IioSource(sensor.options("x")).__enter__()
    assert sensor.says("buffer/enable") == "0"
    for options in ({"rate": 20_000.0}, {"trigger": "clock"}):
        with pytest.raises(ValueError, match="add buffer: true"):
            IioOptions("imu", ("x",), **{"rate": 10.0, **options})  # type: ignore[arg-type]


def test_numbers_of_any_size_and_order() -> None:
    scan = Scan(
        [
            Element.parse("a", "1", "be:u24/32>>8"),
            Element.parse("b", "0", "le:s8/8"),
            Element.parse("c", "2", "le:u64/64"),
        ]
    )
    assert scan.size == 16
    data = struct.pack("<b3x", -3) + struct.pack(">I", 0xABCDEF00) + struct.pack("<Q", 5)
    found = scan.parse(data * 2)
    assert {name: values.tolist() for name, values in found.items()} == {
        "a": [0xABCDEF] * 2,
        "b": [-3] * 2,
        "c": [5, 5],
    }


def test_through_a_reader(sensor: Sensor, tmp_path: Path) -> None:
    options = {"device": "imu", "channels": ["x", "temp"], "rate": 1000.0, "root": str(sensor.root)}
    plan = make_plan("iio", {**options, "buffer": True, "dev": str(sensor.dev)})
    with StreamRig(plan, tmp_path) as rig:
        os.write(sensor.end, b"".join(sensor.scan(number, number) for number in range(5)))
        assert rig.rows(5)[4] == [2.0, 40.0]
        os.write(sensor.end, sensor.scan(9, 9))
        taken = rig.take()
        assert isinstance(taken, Samples)
        assert (taken.gap, taken.values.tolist()) == (True, [[4.5, 40.0]])
