"""What the whole daemon takes: memory of all its processes, and the time from the start to the first result.

usage: scripts/bench --rooms [--models DIR] [--turns N] [--json FILE]

MobileNetV2 on the shipped clip at its own pace, and on a network camera of 1280 x 720 (a server of GStreamer, where the
system's Python has one), with rooms separate and merged. Memory is PSS, which shares out what processes have in
common; only root may ask for it. A start is from the call of ``edge-infer run`` until a subscriber of a real broker has
a result; the model was tried in a start before, and the modules are compiled, as in an installation. Before a *first*
start nothing is known: the model is tried, and there is no state directory. All take turns with
``python -c "import numpy, cv2"``; medians. An edit is from the end of writing the file until the subscriber has the
answer on ``config``: that the threshold is applied, or why it is rejected.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from edge_infer.bench.measure import machine
from edge_infer.engine.interpreter import backend_name
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.readers.conftest import RtspCamera, plays_rtsp
from tests.running import CLIP, ROOT, Daemon

MODEL: Final = "mobilenet_v2_1.0_224_quant.tflite"
ROOMS: Final = ("separate", "merged")
GOALS: Final = {"clip": 140, "camera": 170}
"""MB of all processes."""
WORK: Final = 60
"""Results before memory is looked at."""
PATIENCE: Final = 120.0
"""Seconds that anything may take on a machine that is not idle."""
TEXT: Final = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
rooms: {rooms}
models:
  pictures: {{file: model.tflite, labels: labels.txt}}
sources:
  eye: {source}
pipelines:
  pictures: {{source: eye, model: pictures, publish: every, threshold: 0, top_k: 1}}
"""
RESULT: Final = "edge-infer/box/pictures/result"
CONFIG: Final = "edge-infer/box/config"
Sizes = dict[str, float]
"""MB by room."""


@dataclass(frozen=True, slots=True)
class Found:
    """MB of each process by source and rooms (empty for all but root), and seconds.

    ``starts`` are those of each start, ``bare`` beside; ``edits`` those until the answer to an edit, by its state.
    """

    memory: dict[tuple[str, str], Sizes]
    starts: dict[str, list[float]]
    edits: dict[str, list[float]]

    def json(self) -> str:
        """All that was measured."""
        memory = {" ".join(key): each for key, each in self.memory.items()}
        return json.dumps({"memory": memory, "starts": self.starts, "edits": self.edits})


def main() -> int:
    """0; what could not be measured is said."""
    args = _parser().parse_args()
    model = next((path for path in Path(args.models or ".").rglob(MODEL)), None)
    if model is None:
        sys.exit(f"there is no {MODEL} below {args.models}; --models says where it is")
    compileall.compile_dir(ROOT / "edge_infer", quiet=2)  # rooms may not write there, so nobody else would do it
    print(f"{machine()}, {len(os.sched_getaffinity(0))} cores, {backend_name()}, Python {sys.version.split()[0]}\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o711)  # a daemon of root is another user
        sources = {"clip": f"{{kind: video, file: {CLIP}, loop: true}}"}
        if (camera := stack.enter_context(_camera())) is not None:
            sources["camera"] = f"{{kind: rtsp, url: '{camera.url}'}}"
        found = measure(model, sources, args.turns, folder)
    print(table(found))
    if args.json:
        args.json.write_text(found.json())
    return 0


def measure(model: Path, sources: dict[str, str], turns: int, folder: Path) -> Found:
    """Of daemons with each of these sources, rooms separate and merged; they start with the one called ``clip``."""
    with Broker(folder) as broker, Subscriber(broker.port) as subscriber:
        daemons = {
            (name, rooms): _daemon(
                folder / f"{name}-{rooms}", model, TEXT.format(port=broker.port, rooms=rooms, source=text)
            )
            for name, text in sources.items()
            for rooms in ROOMS
        }
        sizes = {key: _memory(daemon) for key, daemon in daemons.items()} if os.geteuid() == 0 else {}
        starts = _starts({rooms: daemons["clip", rooms] for rooms in ROOMS}, subscriber, turns)
        text = TEXT.format(port=broker.port, rooms=ROOMS[0], source=sources["clip"])
        starts["first"] = [_start(_daemon(folder / f"first-{turn}", model, text), subscriber) for turn in range(turns)]
        edits = _edits(daemons["clip", ROOMS[0]], subscriber, turns)
    return Found(sizes, starts, edits)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench --rooms")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--turns", type=int, default=9, help="starts of each (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was measured")
    return parser


@contextmanager
def _camera() -> Iterator[RtspCamera | None]:
    """A camera, where this system can play one."""
    if not plays_rtsp():
        print("no network camera: GStreamer's RTSP server is not installed\n", file=sys.stderr)
        yield None
        return
    with RtspCamera() as camera:
        camera.resize(1280, 720)
        yield camera


def _daemon(folder: Path, model: Path, text: str) -> Daemon:
    folder.mkdir()
    shutil.copyfile(model, folder / "model.tflite")
    (folder / "model.yaml").write_text("task: classification\n")
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1001)))
    return Daemon(folder, text)


def _memory(daemon: Daemon) -> Sizes:
    """MB of each process once it has worked; the model has been tried in its first start and is not tried again."""
    with daemon:
        daemon.wait_serving(PATIENCE)
    with daemon:
        daemon.wait_serving(PATIENCE)
        eventually(lambda: daemon.status()["pipelines"]["pictures"]["produced"] > WORK, "results", PATIENCE)
        eventually(lambda: daemon.status()["config"], "a reading of the file", PATIENCE)
        pids = {"supervisor": daemon.pid, **{room: pid for room, pid in daemon.pids().items() if pid != daemon.pid}}
        return {room: _pss(pid) for room, pid in pids.items()}


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def _starts(daemons: dict[str, Daemon], subscriber: Subscriber, turns: int) -> dict[str, list[float]]:
    """Seconds of each start, by turns; the first turn warms the caches and is not counted."""
    seconds: dict[str, list[float]] = {"bare": [], **{rooms: [] for rooms in daemons}}
    for turn in range(turns + 1):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import numpy, cv2"], check=True)
        found = {"bare": time.monotonic() - begun}
        for rooms, daemon in daemons.items():
            found[rooms] = _start(daemon, subscriber)
        for name, value in found.items() if turn else ():
            seconds[name].append(value)
    return seconds


def _start(daemon: Daemon, subscriber: Subscriber) -> float:
    """Seconds from the start until the subscriber has a result."""
    begun = time.monotonic()
    with daemon:
        return _next(subscriber, RESULT, begun).at - begun


def _edits(daemon: Daemon, subscriber: Subscriber, turns: int) -> dict[str, list[float]]:
    """Seconds until the answer to an edit, by the state that it must have; the file is replaced, as editors do."""
    seconds: dict[str, list[float]] = {"applied": [], "rejected": []}
    text, new, started = daemon.config.read_text(), daemon.config.with_suffix(".new"), time.monotonic()
    with daemon:
        _next(subscriber, RESULT, started)
        eventually(lambda: daemon.status()["config"], "a reading of the file", PATIENCE)
        for turn in range(turns):
            for state, threshold in (("applied", f"0.{turn + 1:03}"), ("rejected", "2")):
                time.sleep(3.0)  # what follows from the last edit is over
                new.write_text(text.replace("threshold: 0", f"threshold: {threshold}"))
                new.replace(daemon.config)
                begun = time.monotonic()
                answer = _next(subscriber, CONFIG, begun)
                if json.loads(answer.payload)["state"] != state:
                    raise AssertionError(f"expected {state}: {answer.payload!r}")
                seconds[state].append(answer.at - begun)
    return seconds


def _next(subscriber: Subscriber, topic: str, since: float) -> Heard:
    return subscriber.wait(topic, lambda heard: heard.at > since, PATIENCE)


def table(found: Found) -> str:
    """For people."""
    return "\n".join([*_memory_lines(found.memory), "", *_start_lines(found.starts), "", *_edit_lines(found.edits)])


def _memory_lines(sizes: dict[tuple[str, str], Sizes]) -> Iterator[str]:
    if not sizes:
        yield "only root may see how much memory the rooms have"
        return
    rooms = list(dict.fromkeys(room for each in sizes.values() for room in each))
    yield " ".join([f"{'PSS in MB':24s}{'all':>8s}{'goal':>6s}", *(f"{room:>12s}" for room in rooms)])
    for (source, merged), each in sizes.items():
        parts = (f"{each[room]:12.1f}" if room in each else f"{'-':>12s}" for room in rooms)
        yield " ".join([f"{f'{source}, rooms {merged}':24s}{sum(each.values()):8.1f}{GOALS[source]:6d}", *parts])


def _start_lines(starts: dict[str, list[float]]) -> Iterator[str]:
    bare = starts["bare"]
    yield f"{'seconds':24s}{'median':>8s}{'least':>8s}{'most':>8s}{'times bare':>12s}"
    yield f"{'import numpy, cv2':24s}{median(bare):8.2f}{min(bare):8.2f}{max(bare):8.2f}"
    for name, label in (*((rooms, f"first result, {rooms}") for rooms in ROOMS), ("first", "first start, separate")):
        each = starts[name]
        times = median(one / other for one, other in zip(each, bare, strict=True))
        yield f"{label:24s}{median(each):8.2f}{min(each):8.2f}{max(each):8.2f}{times:12.1f}"


def _edit_lines(edits: dict[str, list[float]]) -> Iterator[str]:
    for state, each in edits.items():
        yield f"{f'edit until {state}':24s}{median(each):8.2f}{min(each):8.2f}{max(each):8.2f}"


if __name__ == "__main__":
    sys.exit(main())
