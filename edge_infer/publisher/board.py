"""How the board does, read from the kernel's files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.board import Load, hottest, memory_used, text_of
from edge_infer.messages import BoardHealth

_THROTTLED: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_THROTTLED_NOW: Final = 0b1111
"""Bits 0-3 of a Raspberry Pi's firmware: under-voltage, frequency capped, throttled, soft temperature limit, now."""


class Board:
    """Processor load since the last reading, memory, temperature, throttling; ``root`` holds ``proc`` and ``sys``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._load = Load(root)

    def read(self) -> BoardHealth:
        """What the board tells now; null for what it does not tell."""
        return BoardHealth(
            cpu=self._load.since_last(),
            memory=memory_used(self._root),
            temperature=hottest(self._root),
            throttled=self._throttled(),
        )

    def _throttled(self) -> bool | None:
        try:
            return bool(int(text_of(self._root / _THROTTLED), 16) & _THROTTLED_NOW)
        except ValueError:
            return None
