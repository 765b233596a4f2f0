"""What hundreds of reloads and kills leave behind: open files and memory of the rooms, before and after."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.broker import eventually
from tests.faults.rooms import P, after, serving
from tests.running import PYTHON, Daemon, alive, config

CAMERA = (
    "import sys, time\nn = 0\nwhile True:\n n += 1\n sys.stdout.buffer.write(bytes([n % 256]) * (64 * 48 * 3))\n"
    " sys.stdout.buffer.flush()\n time.sleep(0.05)\n"
)
FILES_MORE = 4
"""Open files that a room may have more than before: a request or a picture that is under way."""
MEMORY_MORE = 24 << 20
"""Bytes that a room may have more than before: allocators keep some."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Open files and resident bytes of one room before and after."""

    room: str
    files: tuple[int, int]
    memory: tuple[int, int]

    @property
    def kept(self) -> bool:
        """Whether it stayed as it was."""
        return self.files[1] <= self.files[0] + FILES_MORE and self.memory[1] <= self.memory[0] + MEMORY_MORE

    def __str__(self) -> str:
        """One line of the table."""
        before, later = (size / (1 << 20) for size in self.memory)
        return f"{self.room:<40} files {self.files[0]:>4} -> {self.files[1]:<4} MB {before:>7.1f} -> {later:<7.1f}"


def use(pid: int) -> tuple[int, int]:
    """Open files and resident bytes of a process; the files of a room that is not dumpable are for root's eyes."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), resident
    except PermissionError:
        return 0, resident


def reloads(folder: Path, repeat: int) -> list[Growth]:
    """Reloads that each time replace a reader, a feed and a pipeline; no room may restart or grow."""
    with serving(folder) as (daemon, subscriber, broker):
        texts = [two_sources(folder, broker.port, number) for number in range(2)]
        for number in range(4):
            _reload(daemon, texts[number % 2])
        after(subscriber, f"{P}/live/result", time.monotonic())
        rooms = {"supervisor": daemon.pid, **{room: daemon.pids()[room] for room in ("engine", "publisher")}}
        before = {room: use(pid) for room, pid in rooms.items()}
        for number in range(repeat):
            _reload(daemon, texts[number % 2])
        after(subscriber, f"{P}/live/result", time.monotonic())
        assert {room: daemon.pids()[room] for room in ("engine", "publisher")}.items() <= rooms.items()
        return [
            Growth(f"{room}, {repeat} reloads", *zip(before[room], use(pid), strict=True))
            for room, pid in rooms.items()
        ]


def kills(folder: Path, repeat: int) -> list[Growth]:
    """Kills of engine, publisher and reader, all at once; the supervisor may not grow and results have to come."""
    with serving(folder) as (daemon, subscriber, broker):
        _reload(daemon, two_sources(folder, broker.port, 0))
        before = use(daemon.pid)
        for _ in range(repeat):
            rooms = eventually(lambda: len(found := daemon.pids()) == 3 and found, "all rooms", 30)
            for pid in rooms.values():
                os.kill(pid, signal.SIGKILL)
            eventually(lambda r=rooms: not any(alive(pid) for pid in r.values()), "their end")
        after(subscriber, f"{P}/live/result", time.monotonic(), deadline=40)
        return [Growth(f"supervisor, {3 * repeat} kills", *zip(before, use(daemon.pid), strict=True))]


SOAKS = (reloads, kills)


def two_sources(folder: Path, port: int, number: int) -> str:
    """The clip, and a live source in a reader; both differ with the number."""
    camera = folder / "camera.py"
    camera.write_text(CAMERA)
    live = (
        f"live: {{kind: exec, command: [{PYTHON}, {camera}, '{number}'], size: 64x48, format: rgb24}}\n"
        f"  drawn: {{kind: synthetic, size: 64x48, seed: {number}}}"
    )
    text = config(port).replace("sources:\n", f"sources:\n  {live}\n")
    return text + (
        "  live: {source: live, model: faces, publish: every, fps: 5}\n"
        f"  drawn: {{source: drawn, model: faces, publish: every, fps: {5 + number}}}\n"
    )


def _reload(daemon: Daemon, text: str) -> None:
    daemon.config.write_text(text)
    assert daemon.reload()["state"] == "applied"
