"""What the kernel's files tell of the board itself. ``root`` holds ``proc`` and ``sys``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NO_SENSORS: Final = frozenset({"PMIC-Die"})
"""Zones of the thermal framework that always say the same: a Jetson's has 100 °C, cold or hot."""
FIRMWARE: Final = ("soc*/soc*firmware", "soc*firmware")
"""Where a Raspberry Pi's firmware is below ``sys/devices/platform``; it depends on the kernel and the board."""


class Load:
    """How busy all processors were since the last look, as a share of 1; see proc(5)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._busy, self._all = self._ticks()
        self._share = self._busy / self._all if self._all else None

    def since_last(self) -> float | None:
        """None where the kernel does not tell. While no tick has passed the share before holds, at first since boot."""
        busy, total = self._ticks()
        if not total:
            self._share = None
        elif total > self._all:
            self._share = (busy - self._busy) / (total - self._all)
        self._busy, self._all = busy, total
        return None if self._share is None else round(min(max(self._share, 0.0), 1.0), 3)

    def _ticks(self) -> tuple[int, int]:
        words = text_of(self._root / "proc/stat").partition("\n")[0].split()
        ticks = [int(word) for word in words[1:9]] if words[:1] == ["cpu"] else []
        idle = sum(ticks[3:5])  # idle and waiting for a disk
        return sum(ticks) - idle, sum(ticks)


def memory_used(root: Path) -> float | None:
    """The share of the memory that is in use; None where the kernel does not tell."""
    fields = {}
    for line in text_of(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.split()[:1]
    try:
        total, available = (int(fields[name][0]) for name in ("MemTotal", "MemAvailable"))
        return round(min(max(1 - available / total, 0.0), 1.0), 3)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        return None


def hottest(root: Path) -> float | None:
    """The hottest zone in degrees Celsius; None without one."""
    found = []
    for zone in root.glob("sys/class/thermal/thermal_zone*/temp"):
        if text_of(zone.with_name("type")).strip() in NO_SENSORS:
            continue
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue  # zones of parts that are switched off cannot be read
    return max((round(value, 1) for value in found if -50 < value < 200), default=None)


def firmware_flags(root: Path) -> int | None:
    """What the firmware of a Raspberry Pi says of now and of before; None on other boards.

    Bits 0-3 are of now: too little voltage, frequency capped, throttled, soft limit of the temperature reached; see
    ``vcgencmd get_throttled``.
    """
    platform = root / "sys/devices/platform"
    for file in (file for place in FIRMWARE for file in platform.glob(f"{place}/get_throttled")):
        try:
            return int(text_of(file), 16)
        except ValueError:
            continue
    return None


def text_of(file: Path) -> str:
    """What a file holds; nothing where it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
