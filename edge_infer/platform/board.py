"""Reads name, load, memory, temperature and firmware flags of the board. ``root`` holds ``proc`` and ``sys``."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

# Load, memory, temperature and firmware flags of the board. ``root`` holds ``proc`` and ``sys``.

NO_SENSORS: Final = frozenset({"PMIC-Die"})
"""Thermal zones with a constant value: this zone of a Jetson always shows 100 °C."""
FIRMWARE: Final = ("soc*/soc*firmware", "soc*firmware")
"""Folders of a Raspberry Pi's firmware below ``sys/devices/platform``; kernel and board decide which one exists."""


class ProcessorLoad:
    """Measures the load of all processors since the previous call, as a share of 1; see proc(5)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._busy, self._nice, self._all = self._ticks()
        self._share = self._busy / self._all if self._all else None

    def since_last(self, *, without_nice: bool = False) -> float | None:
        """Return the load since the previous call; None where the kernel does not report it.

        With ``without_nice``, processor time at low priority (nice) counts as idle. If no tick has passed since the
        previous call, the previous share is returned; at first this is the share since boot.
        """
        busy, nice, total = self._ticks()
        if not total:
            self._share = None
        elif total > self._all:
            work = busy - self._busy - (nice - self._nice if without_nice else 0)
            self._share = work / (total - self._all)
        self._busy, self._nice, self._all = busy, nice, total
        return None if self._share is None else round(min(max(self._share, 0.0), 1.0), 3)

    def _ticks(self) -> tuple[int, int, int]:
        words = text_of(self._root / "proc/stat").partition("\n")[0].split()
        ticks = [int(word) for word in words[1:9]] if words[:1] == ["cpu"] else []
        idle = sum(ticks[3:5])  # idle, and waiting for a disk
        return sum(ticks) - idle, sum(ticks[1:2]), sum(ticks)


def memory_used(root: Path) -> float | None:
    """Return the share of memory in use; None where the kernel does not report it."""
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
    """Return the temperature of the hottest thermal zone in degrees Celsius; None if there is none."""
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
    """Return the throttling flags of a Raspberry Pi's firmware, current and past; None on other boards.

    Bits 0-3 are current: undervoltage, frequency capped, throttled, soft temperature limit reached. See ``vcgencmd
    get_throttled``.
    """
    platform = root / "sys/devices/platform"
    for file in (file for place in FIRMWARE for file in platform.glob(f"{place}/get_throttled")):
        try:
            return int(text_of(file), 16)
        except ValueError:
            continue
    return None


THROTTLED_NOW: Final = 0b1111
"""Bits 0-3 of a Raspberry Pi's firmware flags: under-voltage, frequency capped, throttled, soft temperature limit, each
at this moment."""


def throttled(root: Path) -> bool | None:
    """Return whether the firmware slows the board down now; None on boards that do not report it."""
    flags = firmware_flags(root)
    return None if flags is None else bool(flags & THROTTLED_NOW)


def text_of(file: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""


# The description of this board.

_MODEL_FILES = ("proc/device-tree/model", "sys/class/dmi/id/product_name")


def board_name(root: Path = Path("/")) -> str:
    """Return model, cores and architecture in a line, such as ``Raspberry Pi 4 Model B Rev 1.4, 4 cores, aarch64``."""
    model = ""
    for name in _MODEL_FILES:
        try:
            model = (root / name).read_text(errors="replace").strip("\0 \n")
        except OSError:
            continue
        break
    cores = len(os.sched_getaffinity(0))
    parts = [model, f"{cores} core{'s' if cores > 1 else ''}", platform.machine()]
    return ", ".join(part for part in parts if part)[:500]
