"""Checks of the board itself: model, memory, system, temperature, clock. ``root`` holds ``proc`` and ``sys``."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.publisher.board import Board
from edge_infer.supervisor.board import board_name
from edge_infer.synchronised import MADE, synchronised

_SMALL_MEMORY: Final = 400 << 20
_TIME_SERVICES: Final = ("usr/lib/systemd/systemd-timesyncd", "usr/sbin/chronyd", "usr/sbin/ntpd")
_HOT: Final = 75.0


def board(root: Path) -> Iterator[Finding]:
    """Yield every finding about the board."""
    yield ok("board", board_name(root))
    yield memory(root)
    yield system()
    yield from temperature(root)
    yield clock(root, synchronised(root))


def memory(root: Path) -> Finding:
    """Check the memory for this process: that of the board, or a smaller limit of its control group."""
    total, limit = _number(root / "proc/meminfo", "MemTotal:") * 1024, _group_limit(root)
    if not total:
        return ok("memory", "/proc/meminfo does not say how much")
    fact = f"{total >> 20} MiB" + (f", limited to {limit >> 20} MiB by its control group" if limit else "")
    if min(total, limit or total) < _SMALL_MEMORY:
        return warn("memory", fact, "use one small quantized model, or a board with more memory")
    return ok("memory", fact)


def system() -> Finding:
    """Check the system and its Python: pip mistakes a 32-bit system on a 64-bit kernel for a 64-bit one."""
    bits, machine = 8 * struct.calcsize("P"), os.uname().machine
    fact = f"{bits}-bit {machine}, Linux {os.uname().release}, Python {sys.version.split()[0]} ({sys.executable})"
    if bits == 32 and machine == "aarch64":
        return warn(
            "system",
            f"{fact}; a 32-bit system on a 64-bit kernel",
            "install the 64-bit system, which is faster, or upgrade with: sudo linux32 deploy/install",
        )
    return ok("system", fact)


def temperature(root: Path) -> Iterator[Finding]:
    """Check the hottest zone and the throttling by a Raspberry Pi's firmware; nothing if the board reports neither."""
    health = Board(root).read()
    if health.throttled:
        yield warn(
            "power",
            "the firmware slows the board down now: too hot, or too little voltage",
            "cool it, change the supply",
        )
    if health.temperature is None:
        return
    fact = f"{health.temperature:.0f} °C"
    yield ok("temperature", fact) if health.temperature < _HOT else warn("temperature", fact, "cool the board")


def clock(root: Path, synced: bool | None) -> Finding:
    """Check whether timestamps are reliable, now and right after the next start."""
    battery = "with" if any((root / "sys/class/rtc").glob("rtc*")) else "without"
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    remedy = "start a time service: timedatectl set-ntp true"
    if not any((root / path).exists() for path in _TIME_SERVICES):
        remedy = "install a time service: sudo apt install systemd-timesyncd"
    if time.time() < MADE:
        return warn("clock", f"{now} is wrong, TLS fails until it is set", remedy)
    if synced is None:
        return ok("clock", f"{now}, {battery} a battery clock; whether it is synchronised the kernel does not say")
    if not synced:
        return warn("clock", f"{now}, not synchronised, {battery} a battery clock", remedy)
    return ok("clock", f"{now}, synchronised, {battery} a battery clock")


def _group_limit(root: Path) -> int | None:
    """Return the smallest memory limit from this process's control group (version 2) up to the root, or None."""
    group = next((line[3:] for line in _text(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    folder, top = root / "sys/fs/cgroup" / group.lstrip("/"), root / "sys/fs/cgroup"
    found = []
    while folder != top and folder.is_relative_to(top):
        found.append(_text(folder / "memory.max").strip())
        folder = folder.parent
    return min((int(value) for value in found if value.isdecimal()), default=None)


def _number(path: Path, key: str) -> int:
    line = next((line for line in _text(path).splitlines() if line.startswith(key)), "")
    return int(line.split()[1]) if line else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
