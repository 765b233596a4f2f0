"""Measures the delay from capture to a subscriber at 30 frames a second, less a run of the model, beside a bare paho.

usage: scripts/bench --latency [--models DIR] [--seconds N] [--rounds N] [--json FILE]

The daemon runs as a user starts it, with a source that captures at known times (`metronome.py`), a fast model and
``publish: every``. At the same time, on the same broker, another program only publishes with paho and runs only the
model, at the same rate. Payloads contain the capture time of a frame and, to a tenth of a millisecond, the time from
capture to outcome. All clocks are those of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import paho.mqtt.client as mqtt
from broker import broker
from metronome import FPS, PART
from rows import WAKE

HERE: Final = Path(__file__).parent
SHIPPED: Final = HERE.parent / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
QUICK: Final = "vww_96_int8.tflite"
TITLE: Final = "added latency at a subscriber"
GOALS: Final = (0.001, 0.002)
"""Goals in seconds for the median and the 99th percentile."""
TIMES: Final = 3.0
"""Maximum delay as a multiple of that of paho alone."""
START: Final = 60.0
TOPIC: Final = "edge-infer/bench/quick/result"
ALONE: Final = "bare"
BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Spread:
    """The 10th, 50th and 99th percentiles of the delay in seconds; nothing held up the fastest tenth."""

    p10: float
    p50: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of two or more values."""
        hundredths = quantiles(values, n=100, method="inclusive")
        return cls(hundredths[9], median(values), hundredths[98])

    @classmethod
    def middle(cls, rounds: Sequence[Spread]) -> Spread:
        """Return the medians over several rounds."""
        return cls(*(median(getattr(each, name) for each in rounds) for name in cls.__slots__))

    def over(self, other: Spread) -> Spread:
        """Return the ratios to the other spread."""
        return Spread(self.p10 / other.p10, self.p50 / other.p50, self.p99 / other.p99)


@dataclass(slots=True)
class Latency:
    """Results of the rounds: the delay from capture to subscriber less a run of the model, its two parts, and paho
    alone."""

    model: str = ""
    messages: int = 0
    run: list[float] = field(default_factory=list)
    added: list[Spread] = field(default_factory=list)
    outcome: list[Spread] = field(default_factory=list)
    way: list[Spread] = field(default_factory=list)
    alone: list[Spread] = field(default_factory=list)


class Ear:
    """Subscribes to everything, and records the arrival times by both clocks."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes, float, float]] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[tuple[bytes, float, float]]:
        """Return the messages of a topic: payload, seconds since the epoch, and seconds of the monotonic clock."""
        return [(payload, wall, monotonic) for name, payload, wall, monotonic in list(self.heard) if name == topic]

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        wall, monotonic = time.time(), time.monotonic()
        self.heard.append((message.topic, message.payload, wall, monotonic))


def main() -> int:
    """Measure and print the table; return 0."""
    parser = argparse.ArgumentParser(prog="scripts/bench --latency")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round (%(default)g)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what each round gave")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as port:
        Path(folder).chmod(0o711)  # a daemon that root starts runs as another user
        found = measure(args.models, args.seconds, args.rounds, Path(folder), port)
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(asdict(found)))
    return 0


def measure(models: Path | None, seconds: float, rounds: int, folder: Path, port: int) -> Latency:
    """Start the daemon; measure ``rounds`` rounds after the first outcomes."""
    model = _model(models, folder)
    found, ear = Latency(model.stem), Ear(port)
    try:
        with _daemon(folder, model, port) as log:
            _wait(ear, log)
            for _ in range(rounds):
                ear.heard.clear()
                command = [sys.executable, HERE / "bare_paho.py", model, port, ALONE, BYTES, seconds]
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
                _add(found, ear, json.loads(done.stdout))
    finally:
        ear.close()
    return found


def table(found: Latency) -> str:
    """Return the table as text."""
    times = Spread.middle([one.over(other) for one, other in zip(found.added, found.alone, strict=True)])
    goals, run = f"   goal {GOALS[0] * 1000:g} / {GOALS[1] * 1000:g}", median(found.run) * 1000
    lines = [
        f"{TITLE}, {FPS:g} frames a second, {found.model} ({run:.2f} ms a run), {found.messages} results",
        f"{'':38s}{'p10':>9s}{'p50':>9s}{'p99':>9s}",
        _line("from capture, less a run of the model", found.added) + goals,
        _line("  until it is an outcome", found.outcome),
        _line("  from there to the subscriber", found.way),
        _line("paho alone, there and back", found.alone),
        f"{'times as long':38s}{times.p10:9.2f}{times.p50:9.2f}{times.p99:9.2f}      goal {TIMES:g}",
    ]
    return "\n".join(lines)


def _line(title: str, found: Sequence[Spread]) -> str:
    spread = Spread.middle(found)
    return f"{title:38s}{spread.p10 * 1000:9.2f}{spread.p50 * 1000:9.2f}{spread.p99 * 1000:9.2f} ms"


def _add(found: Latency, ear: Ear, runs: list[float]) -> None:
    """Add the results of one round."""
    run, alone = median(runs), ear.on(ALONE)
    begin, end = alone[0][2], alone[-1][2]
    totals, outcomes = [], []
    for payload, wall, heard in ear.on(TOPIC):
        if not begin <= heard <= end:  # the other program did not run then
            continue
        result: dict[str, Any] = json.loads(payload)
        captured = datetime.fromisoformat(result["ts"].replace("Z", "+00:00")).timestamp() + PART
        totals.append(wall - captured - run)
        outcomes.append(result["ms"] / 1000.0 - run)
    found.messages += len(totals)
    found.run.append(run)
    found.added.append(Spread.of(totals))
    found.outcome.append(Spread.of(outcomes))
    found.way.append(Spread.of([total - outcome for total, outcome in zip(totals, outcomes, strict=True)]))
    found.alone.append(Spread.of([heard - float(payload) for payload, _, heard in alone]))


def _model(models: Path | None, folder: Path) -> Path:
    """Return a copy of a fast model, or the shipped model."""
    source = next((each for each in Path(models).rglob(QUICK)), None) if models else None
    if source is None:
        return SHIPPED
    model = folder / source.name
    shutil.copyfile(source, model)
    model.with_suffix(".yaml").write_text(WAKE)
    return model


@contextmanager
def _daemon(folder: Path, model: Path, port: int) -> Iterator[Path]:
    """Run the daemon with a source of another package; yield the path of its log."""
    plugin, work = folder / "plugin", folder / "daemon"
    about = plugin / "metronome-1.0.dist-info"
    about.mkdir(parents=True)
    work.mkdir()
    shutil.copyfile(HERE / "metronome.py", plugin / "metronome.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: metronome\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edge_infer.sources]\nmetronome = metronome:Metronome\n")
    (work / "config.yaml").write_text(
        f"device: {{id: bench, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n"
        f"models:\n  quick: {{file: {model}}}\nsources:\n  cam: {{kind: metronome, width: 96, height: 96}}\n"
        "pipelines:\n  quick: {source: cam, model: quick, publish: every}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(plugin)}
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_infer", "run", "-c", "config.yaml"],
            cwd=work, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield work / "log"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait(ear: Ear, log: Path) -> None:
    """Wait until results arrive and the model has passed its probation."""
    end = time.monotonic() + START
    while len(ear.on(TOPIC)) < 5 * FPS:
        if time.monotonic() > end:
            sys.exit(f"the daemon gave no results; its log:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
