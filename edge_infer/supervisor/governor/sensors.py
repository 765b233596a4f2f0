"""Sensors of the board for the governor. ``root`` contains ``proc`` and ``sys``."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.platform.board import ProcessorLoad, firmware_flags, hottest, text_of

UNDER_VOLTAGE: Final = 0b0001
SLOWED: Final = 0b1110
"""Bits of the firmware's flags: frequency capped, throttled, soft temperature limit reached."""


@dataclass(frozen=True, slots=True)
class BoardCondition:
    """Temperature (degrees Celsius), busy share of all cores (0..1), charge (0..1) of a discharging battery.

    A value is None if the board does not report it.
    """

    temperature: float | None = None
    load: float | None = None
    throttled: bool = False
    undervolted: bool = False
    battery: float | None = None


class Sensors:
    """Reads a few files of the kernel; reading none of them can block."""

    def __init__(self, root: Path, looks: int) -> None:
        """Average the load over ``looks`` readings."""
        self._root = root
        self._load = ProcessorLoad(root)
        self._loads: deque[float] = deque(maxlen=looks)

    def read(self, *, measuring: bool = False) -> BoardCondition:
        """Return the current condition; a sensor that is missing, unreadable or implausible counts as absent.

        While the daemon itself is ``measuring`` the board, work at idle priority does not count as load.
        """
        flags = firmware_flags(self._root) or 0
        return BoardCondition(
            hottest(self._root),
            self._busy(measuring=measuring),
            bool(flags & SLOWED) or self._cooled(),
            bool(flags & UNDER_VOLTAGE) or self._alarm(),
            self._battery(),
        )

    def _busy(self, *, measuring: bool) -> float | None:
        """Return the mean load of the last readings, once there are enough of them."""
        share = self._load.since_last(without_nice=measuring)
        if share is None:
            return None
        self._loads.append(share)
        return sum(self._loads) / len(self._loads) if len(self._loads) == self._loads.maxlen else None

    def _cooled(self) -> bool:
        """Return whether the kernel throttles processors because of heat.

        Fans, which are also cooling devices, do not count.

        ``scaling_max_freq`` does not show this, because a user may have set it permanently.
        """
        for device in self._root.glob("sys/class/thermal/cooling_device*"):
            kind = text_of(device / "type").strip().lower()
            if ("cpu" in kind or kind == "processor") and (_number(device / "cur_state") or 0) > 0:
                return True
        return False

    def _alarm(self) -> bool:
        """Return the voltage alarm of a Raspberry Pi, on kernels that report it instead of the firmware's flags."""
        chips = self._root.glob("sys/class/hwmon/hwmon*")
        return any(_number(chip / "in0_lcrit_alarm") == 1 for chip in chips if _is(chip / "name", "rpi_volt"))

    def _battery(self) -> float | None:
        """Return the lowest charge of all batteries that supply this board.

        Batteries of a mouse or a telephone do not count.
        """
        found = []
        for supply in self._root.glob("sys/class/power_supply/*"):
            ours = _is(supply / "type", "Battery") and not _is(supply / "scope", "Device")
            charge = _number(supply / "capacity")
            if ours and _is(supply / "status", "Discharging") and charge is not None and 0 <= charge <= 100:
                found.append(charge / 100)
        return min(found, default=None)


def _is(file: Path, word: str) -> bool:
    return text_of(file).strip() == word


def _number(file: Path) -> int | None:
    try:
        return int(text_of(file))
    except ValueError:
        return None
