"""Whether the whole daemon keeps up on a small board, for which a control group stands.

usage: scripts/bench --small [--models DIR] [--seconds N]

As root. First a quarter of a core and 300 MB for all processes of the daemon: the shipped model on the shipped clip at
5 frames a second. Then one core and 1 GB for four pipelines of different models, each at 5 frames a second. Broker and
subscriber are outside of the group. A result is late if more than two intervals lie between capture and subscriber.
The first half minute does not count: the daemon tries models, and measures numbers of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

from rows import WAKE

from edge_infer.bench.measure import machine
from edge_infer.engine.interpreter import backend_name
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.running import CLIP, MODEL, Daemon

GROUPS: Final = Path("/sys/fs/cgroup")
FPS: Final = 5
MANIFESTS: Final = {
    "mobilenet_v1_0.25_128_quant.tflite": "task: classification\n",
    "vww_96_int8.tflite": WAKE,
    "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite": "task: detection\n",
}
"""The public models that run beside the shipped one, with their manifests."""
WARM: Final = 30.0
"""Seconds from the first result until results count."""
PATIENCE: Final = 120.0
"""Seconds until the first result."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one run gave: results of those expected, late ones, and seconds from capture to the subscriber."""

    results: int
    expected: int
    late: int
    middle: float
    latest: float


@dataclass(frozen=True, slots=True)
class Used:
    """What a control group counted: seconds of processor so far, most bytes at a time, processes killed for memory."""

    seconds: float
    peak: int
    killed: int


class Group:
    """A control group of the first or the second version, with limits: a share of cores, and bytes of memory."""

    def __init__(self, cores: float, memory: int) -> None:
        self._unified = (GROUPS / "cgroup.controllers").exists()
        parts = ("",) if self._unified else ("cpu", "cpuacct", "memory")
        if self._unified:
            (GROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
        self._folders = {part: GROUPS / part / f"edge-infer-bench-{os.getpid()}" for part in parts}
        for folder in self._folders.values():
            folder.mkdir()
        if self._unified:
            self._file("", "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
            self._file("", "memory.max").write_text(str(memory))
        else:
            self._file("cpu", "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
            self._file("memory", "memory.limit_in_bytes").write_text(str(memory))

    def before(self) -> tuple[str, ...]:
        """Return the words of a command that joins the group and becomes another one."""
        joins = "; ".join(f"echo $$ >{folder}/cgroup.procs" for folder in self._folders.values())
        return ("sh", "-ec", f'{joins}; exec "$@"', "sh")

    def used(self) -> Used:
        """Return what the group has used so far."""
        if self._unified:
            usage = self._file("", "cpu.stat").read_text().split()
            events = self._file("", "memory.events").read_text().split()
            seconds = int(usage[usage.index("usage_usec") + 1]) / 1e6
            return Used(seconds, self._number("", "memory.peak"), int(events[events.index("oom_kill") + 1]))
        control = self._file("memory", "memory.oom_control").read_text().split()
        killed = int(control[control.index("oom_kill") + 1])
        return Used(
            self._number("cpuacct", "cpuacct.usage") / 1e9, self._number("memory", "memory.max_usage_in_bytes"), killed
        )

    def remove(self) -> bool:
        """Remove it, and return whether that was possible: its processes have to have ended."""
        with suppress(OSError):
            for folder in self._folders.values():
                if folder.exists():
                    folder.rmdir()
            return True
        return False

    def _file(self, part: str, name: str) -> Path:
        return self._folders[part] / name

    def _number(self, part: str, name: str) -> int:
        return int(self._file(part, name).read_text())


@contextmanager
def _group(cores: float, memory: int) -> Iterator[Group]:
    group = Group(cores, memory)
    try:
        yield group
    finally:
        eventually(group.remove, "end of the processes in the control group")


def main() -> int:
    """0; 1 if a result was late or missing, or a process was killed."""
    parser = argparse.ArgumentParser(prog="scripts/bench --small")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run (%(default)g)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can make a control group")
    others = [path for name in MANIFESTS if (path := next(Path(args.models or ".").rglob(name), None)) is not None]
    if len(others) < len(MANIFESTS):
        parser.error(f"not all of {', '.join(MANIFESTS)} are below {args.models}; --models says where they are")
    print(f"{machine()}, {backend_name()}, Python {sys.version.split()[0]}\n")
    core = ("taskset", "--cpu-list", str(max(os.sched_getaffinity(0))))
    with _group(0.25, 300_000_000) as group:
        quarter = run("a quarter of a core, 300 MB", [MODEL], args.seconds, group)
    with _group(1.0, 1_000_000_000) as group:
        whole = run("one core, 1 GB, four models", [MODEL, *others], args.seconds, group, core)
    return 0 if quarter and whole else 1


def run(title: str, models: list[Path], seconds: float, group: Group, command: tuple[str, ...] = ()) -> bool:
    """Measure one daemon, print what it gave, and return whether it kept up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # a daemon of root is another user
        with Broker(folder) as broker, Subscriber(broker.port) as subscriber:
            topics = [f"edge-infer/box/{_name(path)}/result" for path in models]
            begun = time.monotonic()
            text = _text(broker.port, folder, models)
            with Daemon(folder, text, before=(*group.before(), *command), level="info"):
                for topic in topics:
                    subscriber.wait(topic, lambda heard: heard.at > begun, PATIENCE)
                first = time.monotonic() - begun
                time.sleep(WARM)
                before, since = group.used(), time.monotonic()
                time.sleep(seconds)
                after, until = group.used(), time.monotonic()
            kept = [
                _kept([heard for heard in subscriber.on(topic) if since <= heard.at < until], round(seconds * FPS))
                for topic in topics
            ]
    share = (after.seconds - before.seconds) / (until - since)
    print(
        f"{title}: a result of each after {first:.1f} s; {share:.2f} of a core, at most {after.peak / 1e6:.0f} MB, "
        f"{after.killed} killed"
    )
    for path, each in zip(models, kept, strict=True):
        print(
            f"  {_name(path)}: {each.results} of {each.expected} results, {each.late} late; capture to subscriber "
            f"{each.middle * 1000:.0f} ms in the middle, {each.latest * 1000:.0f} ms at most"
        )
    return keeps_up(after.killed, kept)


def keeps_up(killed: int, kept: list[Kept]) -> bool:
    """Return whether nothing was killed, late or missing; one result may fall just outside of the time."""
    return not killed and all(each.results >= each.expected - 1 and not each.late for each in kept)


def _kept(heard: list[Heard], expected: int) -> Kept:
    offset = time.time() - time.monotonic()
    waits = [
        each.at + offset - datetime.fromisoformat(json.loads(each.payload)["ts"].replace("Z", "+00:00")).timestamp()
        for each in heard
    ]
    late = sum(wait > 2 / FPS for wait in waits)
    return Kept(len(waits), expected, late, median(waits or [0.0]), max(waits, default=0.0))


def _text(port: int, folder: Path, models: list[Path]) -> str:
    """The configuration of a daemon that runs these models, each in a pipeline of its own."""
    entries, pipelines = "", ""
    for path in models:
        if path != MODEL:
            shutil.copyfile(path, folder / path.name)
            (folder / path.name).with_suffix(".yaml").write_text(MANIFESTS[path.name])
        name = _name(path)
        entries += f"  {name}: {{file: {path if path == MODEL else path.name}}}\n"
        pipelines += f"  {name}: {{source: cam, model: {name}, publish: every}}\n"
    return (
        f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n"
        f"models:\n{entries}"
        f"sources:\n  cam: {{kind: video, file: {CLIP}, loop: true, fps: {FPS}}}\n"
        f"pipelines:\n{pipelines}"
    )


def _name(model: Path) -> str:
    return model.stem.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit(main())
