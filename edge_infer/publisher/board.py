"""How the board does, read from the kernel's files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.messages import BoardHealth

_THROTTLED: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_THROTTLED_NOW: Final = 0b1111
"""Bits 0-3 of a Raspberry Pi's firmware: under-voltage, frequency capped, throttled, soft temperature limit, now."""


class Board:
    """Processor load since the last reading, memory, temperature, throttling; ``root`` holds ``proc`` and ``sys``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._busy, self._all = self._ticks()

    def read(self) -> BoardHealth:
        """What the board tells now; null for what it does not tell."""
        busy, total = self._ticks()
        cpu = (busy - self._busy) / (total - self._all) if total > self._all else None
        self._busy, self._all = busy, total
        return BoardHealth(
            cpu=None if cpu is None else round(min(max(cpu, 0.0), 1.0), 3),
            memory=self._memory(),
            temperature=self._temperature(),
            throttled=self._throttled(),
        )

    def _ticks(self) -> tuple[int, int]:
        """Busy and all ticks of all processors since the start; see proc(5)."""
        words = self._text("proc/stat").partition("\n")[0].split()
        ticks = [int(word) for word in words[1:9]] if words[:1] == ["cpu"] else []
        idle = sum(ticks[3:5])  # idle and waiting for a disk
        return sum(ticks) - idle, sum(ticks)

    def _memory(self) -> float | None:
        fields = {}
        for line in self._text("proc/meminfo").splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.split()[:1]
        try:
            total, available = (int(fields[name][0]) for name in ("MemTotal", "MemAvailable"))
            return round(min(max(1 - available / total, 0.0), 1.0), 3)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            return None

    def _temperature(self) -> float | None:
        """The hottest zone in degrees Celsius."""
        found = []
        for zone in self._root.glob("sys/class/thermal/thermal_zone*/temp"):
            try:
                found.append(int(zone.read_text()) / 1000)
            except (OSError, ValueError):
                continue  # zones of parts that are switched off cannot be read
        return max((round(value, 1) for value in found if -50 < value < 200), default=None)

    def _throttled(self) -> bool | None:
        try:
            return bool(int(self._text(_THROTTLED), 16) & _THROTTLED_NOW)
        except ValueError:
            return None

    def _text(self, name: str) -> str:
        try:
            return (self._root / name).read_text()
        except OSError:
            return ""
