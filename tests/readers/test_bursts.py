"""More at once than the pipelines can take: a pipe's writer waits, and what a sensor sends waits for the pipelines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.engine.input.sample_stream import AHEAD
from edge_infer.frames.frame import Line, Samples
from tests.broker import UNLIMITED, Broker, eventually
from tests.readers.rig import StreamRig, make_plan

MANY: Final = 20_000
BURST: Final = 3_000
"""Six times what may wait however old it is."""


class Program(threading.Thread):
    """What writes into a pipe, as ``cat`` does."""

    def __init__(self, pipe: Path, data: bytes) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._data = data

    def run(self) -> None:
        with self._pipe.open("wb", buffering=0) as way:
            left = memoryview(self._data)
            while left:
                left = left[way.write(left) :]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_who_writes_lines_into_a_pipe_waits(pipe: Path, tmp_path: Path) -> None:
    text = b"".join(b"line %d of a text that is long enough to fill the pipe\n" % number for number in range(MANY))
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        program = Program(pipe, text)
        program.start()
        eventually(lambda: len(rig.cursor.waiting) >= AHEAD, "lines")
        program.join(2.0)
        assert program.is_alive()
        assert len(rig.cursor.waiting) == AHEAD
        assert rig.feed.blocked() is None
        lines = [rig.take() for _ in range(MANY)]
        program.join(10.0)
        assert not program.is_alive()
        assert [int(item.text.split()[1]) for item in lines if isinstance(item, Line)] == list(range(MANY))
        assert rig.cursor.dropped == 0
    assert "data dropped" not in rig.log.read_text()


def test_who_writes_rows_into_a_pipe_waits_and_there_is_no_gap(pipe: Path, tmp_path: Path) -> None:
    """It waits for longer than a pause in the rows may last."""
    rows = b"".join(b"%d,0.125,0.25,0.5,0.75,0.875\n" % number for number in range(MANY))
    with StreamRig(make_plan("csv", {"file": str(pipe), "rate": 1000.0}), tmp_path) as rig:
        program = Program(pipe, rows * 10)
        program.start()
        eventually(lambda: len(rig.cursor.waiting) >= AHEAD, "rows")
        program.join(2.5)
        assert program.is_alive()
        values: list[float] = []
        gaps = 0
        while len(values) < 10 * MANY:
            taken = rig.take()
            assert isinstance(taken, Samples)
            gaps += taken.gap
            values += taken.values[:, 0].tolist()
        assert values == [float(number) for number in range(MANY)] * 10
        assert gaps == 1  # before the first
        assert rig.cursor.dropped == 0


@dataclass
class Sensor:
    """Publishes a burst to a topic that a source reads."""

    rig: StreamRig
    client: mqtt.Client
    values: list[float] = field(default_factory=list)

    def publish(self) -> None:
        for number in range(1, BURST + 1):
            self.client.publish("hall", str(number), qos=1)

    def whole(self) -> bool:
        """Takes what there is; whether that is all by now."""
        while (taken := self.rig.feed.next(self.rig.cursor, 0.0)) is not None:
            assert isinstance(taken, Samples)
            self.values.extend(float(value) for value in taken.values[:, 0] if value)
        return len(self.values) == BURST

    def arrives(self) -> None:
        """Fails unless everything comes, in order."""
        eventually(self.whole, lambda: f"all messages, only {len(self.values)}; {self.rig.log.read_text()}", 60.0)
        assert self.values == [float(number) for number in range(1, BURST + 1)]
        assert self.rig.cursor.dropped == 0


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    with Broker(tmp_path, *UNLIMITED) as broker:
        options = {"topic": "hall", "host": "127.0.0.1", "port": broker.port, "rate": 0.1}
        with StreamRig(make_plan("mqtt", options, network=True), tmp_path) as rig:
            client = mqtt.Client(CallbackAPIVersion.VERSION2)
            client.max_inflight_messages_set(BURST)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            eventually(lambda: client.publish("hall", "0", qos=1) and rig.cursor.waiting, "the subscription", 30.0)
            yield Sensor(rig, client)
            client.disconnect()
            client.loop_stop()


def test_messages_of_a_sensor_wait_for_the_pipelines(sensor: Sensor) -> None:
    sensor.publish()
    eventually(lambda: len(sensor.rig.cursor.waiting) > 3 * 512, "a long queue", 60.0)
    sensor.arrives()


def test_messages_of_a_sensor_wait_for_an_engine_that_takes_nothing_for_a_second(sensor: Sensor) -> None:
    with sensor.rig.feed._lock:
        sensor.publish()
        time.sleep(1.0)
    sensor.arrives()


def test_a_burst_on_a_serial_line_waits_for_the_pipelines(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    options = {"device": os.ttyname(theirs), "columns": ["x"], "rate": 10.0}
    try:
        with StreamRig(make_plan("serial", options), tmp_path) as rig:
            eventually(lambda: os.write(ours, b"0\n0\n") and rig.cursor.waiting, "the port", 30.0)
            Terminal(ours).start()
            eventually(lambda: rig.cursor.waiting and rig.cursor.waiting[-1].values[-1, 0] == BURST, "the last", 60.0)  # type: ignore[union-attr]
            found = [value for value in (v for item in rig.cursor.waiting for v in item.values[:, 0]) if value]  # type: ignore[union-attr]
            assert found == list(range(1, BURST + 1))
            assert rig.cursor.dropped == 0
    finally:
        os.close(ours)
        os.close(theirs)


class Terminal(threading.Thread):
    """A device that sends numbers."""

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self._fd = fd

    def run(self) -> None:
        data = memoryview(b"".join(b"%d\n" % number for number in range(1, BURST + 1)))
        while data:
            data = data[os.write(self._fd, data[:1024]) :]
