"""What the whole daemon costs, all its processes, beside the script that a user would write: ratios of one run.

usage: scripts/bench --daemon [--models DIR] [--seconds N] [--rounds N] [--only WORD] [--json FILE]

A clip of 640 x 480 at 30, 10 and 5 frames a second and as fast as it goes; a classifier; a real broker, and
mosquitto_sub as the subscriber, which stamps each message. Also a network camera of 1280 x 720 (a server of GStreamer,
where the system's Python has one), and the shipped detector on its clip, with and without tracking. Script and daemons
take turns. For each: processor time a frame of all its processes and of each thread, voluntary context switches a frame
(without FFmpeg's own threads), the time from capture to the subscriber, and PSS (root only). Medians of the rounds.
Below each row stands the processor time of the threads, in the order in which they started: ``engine 2`` is that of the
pipeline, ``engine 3`` that which reads the source, ``publisher 2`` that of the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, Literal

import cv2
import numpy as np

from edge_infer.bench.measure import machine
from edge_infer.engine.interpreter import backend_name
from tests.broker import Broker, eventually
from tests.readers.conftest import RtspCamera, plays_rtsp
from tests.running import CLIP, ROOT, Daemon

HERE: Final = Path(__file__).parent
MODELS: Final = ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v1_0.25_128_quant.tflite")
RATES: Final = (30, 10, 5)
WARM: Final = 3.0
"""Seconds from the first result until the measurement begins."""
PATIENCE: Final = 120.0
TEXT: Final = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  pictures: {model}
sources:
  eye: {source}
pipelines:
  pictures: {{source: eye, model: pictures, threads: 1, {options}}}
"""
LEAST: Final = 0.005
"""Milliseconds a frame below which a thread is not printed."""
SCRIPT: Final = "script"
"""The way that all others are compared with."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing the work: the script, or a daemon with these options of its pipeline."""

    name: str
    options: str = ""
    still: bool = False
    """Whether its clip shows nothing that moves."""
    sees: Literal["clip", "camera", "faces"] = "clip"
    """The made clip, the network camera, or the clip of the shipped detector."""
    beside: str = SCRIPT
    """The way that it is compared with."""


WAYS: Final = (
    Way(SCRIPT),
    Way("every", "publish: every"),
    Way("change", "publish: change"),
    Way("every, motion", "publish: every, motion: true"),
    Way("motion, nothing moves", "publish: change, motion: true", still=True),
)
CAMERA_SCRIPT, FACES = "network camera, script", "faces, every"
OF_CAMERA: Final = (
    Way(CAMERA_SCRIPT, sees="camera", beside=CAMERA_SCRIPT),
    Way("network camera, every", "publish: every", sees="camera", beside=CAMERA_SCRIPT),
    Way("network camera, change", "publish: change", sees="camera", beside=CAMERA_SCRIPT),
)
OF_FACES: Final = (
    Way(FACES, "publish: every", sees="faces", beside=FACES),
    Way("faces, every, track", "publish: every, track: true", sees="faces", beside=FACES),
)
BY_NAME: Final = {way.name: way for way in (*WAYS, *OF_CAMERA, *OF_FACES)}
DETECTOR: Final = ROOT / "models" / "face-detect" / "1.0.0"
CAMERA_RATE: Final = 15


@dataclass(slots=True)
class Usage:
    """What the threads had used at one moment: seconds of processor by thread, and voluntary switches but FFmpeg's."""

    seconds: dict[str, float]
    switches: int

    @classmethod
    def of(cls, processes: dict[str, int]) -> Usage:
        """Of these processes, by name. Raises `OSError` if a thread ends while it is read for the tenth time."""
        for _ in range(9):
            with suppress(FileNotFoundError, ProcessLookupError):
                return cls._read(processes)
        return cls._read(processes)

    @classmethod
    def _read(cls, processes: dict[str, int]) -> Usage:
        seconds: dict[str, float] = {}
        switches = 0
        for process, pid in processes.items():
            tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
            ffmpeg = [task for task in tasks if _is_ffmpeg(pid, task)]
            others = [task for task in tasks if task not in ffmpeg]
            names = [process, *(f"{process} {number}" for number in range(2, len(others) + 1))]
            for name, task in [*zip(names, others, strict=True), *((f"{process} FFmpeg", task) for task in ffmpeg)]:
                # The sum that the kernel keeps of the process comes in steps of 10 ms.
                seconds[name] = seconds.get(name, 0.0) + int((task / "schedstat").read_text().split()[0]) / 1e9
            switches += sum(int(_status(task)["voluntary_ctxt_switches"]) for task in others)
        return cls(seconds, switches)


@dataclass(slots=True)
class Round:
    """What one way cost in one round: milliseconds of processor and switches a frame, latency in ms, PSS in MB."""

    rate: float
    cpu: float
    parts: dict[str, float]
    switches: float
    p50: float | None = None
    p99: float | None = None
    pss: float | None = None


@dataclass(slots=True)
class Row:
    """The rounds of a way with one model at one rate; 0: as fast as it goes."""

    model: str
    fps: int
    way: str
    rounds: list[Round] = field(default_factory=list)

    def middle(self, of: Callable[[Round], float | None]) -> float | None:
        """The median of one figure."""
        values = [value for each in self.rounds if (value := of(each)) is not None]
        return median(values) if values else None


class Subscriber:
    """A mosquitto_sub that writes the time, topic and payload of each message into a file."""

    def __init__(self, folder: Path, port: int) -> None:
        self._path = folder / "heard"
        self._file = self._path.open("wb")
        command = ["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "#", "-F", "%U %t %p"]
        self._process = subprocess.Popen(command, stdout=self._file)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._file.close()

    def heard(self, topic: str, since: float, until: float) -> list[tuple[float, dict[str, Any]]]:
        """When what came on a topic, as seconds since the epoch and the payload."""
        found = []
        for line in self._path.read_bytes().splitlines():
            stamp, name, payload = line.split(b" ", 2)
            if name.decode() == topic and since <= float(stamp) <= until:
                found.append((float(stamp), json.loads(payload)))
        return found


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(prog="scripts/bench --daemon")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a round (%(default)g)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose title has this word")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what each round gave")
    args = parser.parse_args()
    if args.models is None:
        parser.error("EDGE_INFER_ASSETS is not set: name the folder of public test models by it, or by --models")
    print(f"{machine()}, {len(os.sched_getaffinity(0))} cores, {backend_name()}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # a daemon of root is another user
        rows = [row for row in _rows(args.models) if args.only in _title(row)]
        measure(rows, args.models, args.seconds, args.rounds, folder)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows]))
    return 0


def measure(rows: list[Row], models: Path, seconds: float, rounds: int, folder: Path) -> None:
    """All rows in turns, so that a busy machine is busy for each of them."""
    rates = {row.fps or 30 for row in rows if BY_NAME[row.way].sees == "clip"}
    clips = {fps: (_clip(folder, fps, still=False), _clip(folder, fps, still=True)) for fps in rates}
    with ExitStack() as stack:
        broker, url = stack.enter_context(Broker(folder)), ""
        if any(BY_NAME[row.way].sees == "camera" for row in rows):
            camera = stack.enter_context(RtspCamera())
            camera.resize(1280, 720)
            url = camera.url
        subscriber = Subscriber(folder, broker.port)
        try:
            for turn in range(rounds):
                for number, row in enumerate(rows):
                    print(
                        f"round {turn + 1} of {rounds}: {_title(row)}".ljust(79), end="\r", file=sys.stderr, flush=True
                    )
                    way = BY_NAME[row.way]
                    work = folder / f"{turn}-{number}"
                    work.mkdir()
                    if way.sees != "faces":
                        shutil.copyfile(next(models.rglob(row.model)), work / "model.tflite")
                        (work / "model.yaml").write_text("task: classification\n")
                        (work / "labels.txt").write_text("".join(f"class {each}\n" for each in range(1001)))
                    seen = str(clips[row.fps or 30][way.still]) if way.sees == "clip" else url
                    runs = (_daemon if way.options else _script)(way, seen, row.fps, work, broker.port)
                    row.rounds.append(_round(runs, row.fps if "change" in way.options else 0, subscriber, seconds))
        finally:
            subscriber.close()
    print(" " * 79, end="\r", file=sys.stderr)


def _round(runs: AbstractContextManager[Processes], fps: float, subscriber: Subscriber, seconds: float) -> Round:
    """``fps`` frames a second, or as many as there are results for 0."""
    begun = time.time()
    with runs as (topic, processes):
        eventually(lambda: subscriber.heard(topic, begun, time.time()), "result", PATIENCE)
        time.sleep(WARM)
        alive = processes()
        before, since = Usage.of(alive), time.time()
        time.sleep(seconds)
        after, until = Usage.of(alive), time.time()
        pss = sum(map(_pss, alive.values())) if os.geteuid() == 0 else None
    waits = [(stamp - _captured(payload)) * 1000 for stamp, payload in subscriber.heard(topic, since, until)]
    count = fps * (until - since) or max(1, len(waits))
    parts = {name: (end - before.seconds.get(name, 0.0)) * 1000 / count for name, end in after.seconds.items()}
    hundredths = quantiles(waits, n=100, method="inclusive") if len(waits) > 1 else None
    return Round(
        count / (until - since),
        sum(parts.values()),
        parts,
        (after.switches - before.switches) / count,
        hundredths[49] if hundredths else None,
        hundredths[98] if hundredths else None,
        pss,
    )


Processes = tuple[str, Callable[[], dict[str, int]]]
"""The topic of the results, and what gives the processes by name."""


@contextmanager
def _script(way: Way, seen: str, fps: int, work: Path, port: int) -> Iterator[Processes]:
    pace = 2 if way.sees == "camera" else int(fps > 0)
    words = [work / "model.tflite", work / "labels.txt", seen, pace, port]
    process = subprocess.Popen([sys.executable, HERE / "script.py", *map(str, words)], stderr=subprocess.DEVNULL)
    try:
        yield "script/result", lambda: {"script": process.pid}
    finally:
        process.kill()
        process.wait()


@contextmanager
def _daemon(way: Way, seen: str, fps: int, work: Path, port: int) -> Iterator[Processes]:
    (work / "box").mkdir()
    model, options = "{file: model.tflite, labels: labels.txt}", f"threshold: 0, top_k: 5, {way.options}"
    source = f"{{kind: video, file: {seen}, loop: true{'' if fps else ', realtime: false'}}}"
    if way.sees == "camera":
        source = f"{{kind: rtsp, url: '{seen}'}}"
    if way.sees == "faces":
        model, options = f"{{file: {DETECTOR}}}", way.options
        source = f"{{kind: video, file: {CLIP}, loop: true}}"
    else:
        for name in ("model.tflite", "model.yaml", "labels.txt"):
            shutil.move(work / name, work / "box" / name)
    text = TEXT.format(port=port, model=model, source=source, options=options)
    with Daemon(work / "box", text, level="info") as daemon:
        daemon.wait_serving(PATIENCE)
        yield "edge-infer/box/pictures/result", lambda: {"supervisor": daemon.pid, **daemon.pids()}


def _captured(payload: dict[str, Any]) -> float:
    stamp = payload["ts"]
    return stamp if isinstance(stamp, float) else datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def _clip(folder: Path, fps: int, *, still: bool) -> Path:
    """A clip of twenty seconds: noise that shifts, or one picture all the time."""
    path = folder / f"{'still' if still else 'moving'}-{fps}.mp4"
    random = np.random.default_rng(0)
    ground = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST)
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (640, 480))
    for number in range(20 * fps):
        out.write(ground if still else np.roll(ground, 4 * number, axis=1))
    out.release()
    path.chmod(0o644)
    return path


def _status(task: Path) -> dict[str, str]:
    lines = (line.split(":", 1) for line in (task / "status").read_text().splitlines())
    return {name: value.strip() for name, value in lines}


def _is_ffmpeg(pid: int, task: Path) -> bool:
    """Return whether FFmpeg started a thread: return addresses on its stack are in FFmpeg's code, none in Python's.

    The daemon's processes may not name their threads, and FFmpeg does not name all of its own. Only root can read the
    stack; for others the name decides.
    """
    if int(task.name) == pid:  # it may wait in FFmpeg for the next frame of a camera
        return False
    if os.geteuid() != 0:
        return _status(task)["Name"].startswith("av:")
    lines = [line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    code = [(*(int(end, 16) for end in line[0].split("-")), Path(line[5]).name) for line in lines if len(line) > 5]
    for _ in range(100):
        words = (task / "syscall").read_text().split()
        if len(words) > 2:
            break
        time.sleep(0.001)  # the kernel shows no stack of a running thread
    else:
        return False
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(int(words[-2], 16))
        stack = memory.read(2048)
    homes = {name for (word,) in struct.iter_unpack("N", stack) for low, high, name in code if low <= word < high}
    return any(name.startswith(("libav", "libsw")) for name in homes) and not any("python3" in name for name in homes)


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def _rows(models: Path) -> list[Row]:
    names = [name for name in MODELS if next(models.rglob(name), None) is not None]
    if not names:
        sys.exit(f"there is none of {', '.join(MODELS)} below {models}; --models says where they are")
    paced = [Row(names[-1], fps, way.name) for fps in RATES for way in WAYS]
    fastest = [Row(name, 0, way) for name in names for way in (SCRIPT, "every")]
    camera = [Row(names[-1], CAMERA_RATE, way.name) for way in OF_CAMERA] if plays_rtsp() else []
    rate = round(cv2.VideoCapture(str(CLIP)).get(cv2.CAP_PROP_FPS))
    return [*paced, *fastest, *camera, *(Row(DETECTOR.parent.name, rate, way.name) for way in OF_FACES)]


def _title(row: Row) -> str:
    return (
        f"{row.model.removesuffix('_quant.tflite')} {f'{row.fps} fps' if row.fps else 'as fast as it goes'}, {row.way}"
    )


def table(rows: list[Row]) -> str:
    """For people."""
    head = f"{'':52s}{'fps':>7s}{'cpu ms':>8s}{'times':>7s}{'switches':>9s}{'p50 ms':>8s}{'p99 ms':>8s}{'PSS MB':>8s}"
    lines = [head]
    for row in rows:
        cpu = row.middle(lambda each: each.cpu) or 0.0
        base = (row.model, row.fps, BY_NAME[row.way].beside)
        other = next(each for each in rows if (each.model, each.fps, each.way) == base)
        times = median(a.cpu / b.cpu for a, b in zip(row.rounds, other.rounds, strict=True))
        figures = (_cell(row.middle(lambda each, of=name: getattr(each, of)), 8) for name in ("p50", "p99", "pss"))
        rate, switches = (row.middle(lambda each, of=name: getattr(each, of)) or 0.0 for name in ("rate", "switches"))
        lines.append(f"{_title(row):52s}{rate:7.1f}{cpu:8.2f}{times:7.2f}{switches:9.1f}{''.join(figures)}")
        names = sorted({name for each in row.rounds for name in each.parts})
        if len(names) > 1:
            parts = {name: row.middle(lambda each, of=name: each.parts.get(of)) or 0.0 for name in names}
            lines.append("    " + ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value >= LEAST))
    return "\n".join(lines)


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}s}" if value is None else f"{value:{width}.2f}"


if __name__ == "__main__":
    sys.exit(main())
