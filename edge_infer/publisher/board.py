"""Health of the board, read from the kernel's files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.board import Load, firmware_flags, hottest, memory_used
from edge_infer.messages import BoardHealth

_THROTTLED_NOW: Final = 0b1111
"""Bits 0-3 of a Raspberry Pi's firmware flags: under-voltage, frequency capped, throttled, soft temperature limit, each
at this moment."""


class Board:
    """Reads processor load since the last reading, memory, temperature and throttling.

    ``root`` holds ``proc`` and ``sys``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._load = Load(root)

    def read(self) -> BoardHealth:
        """Read the current values; null where the board does not provide one."""
        return BoardHealth(
            cpu=self._load.since_last(),
            memory=memory_used(self._root),
            temperature=hottest(self._root),
            throttled=self._throttled(),
        )

    def _throttled(self) -> bool | None:
        flags = firmware_flags(self._root)
        return None if flags is None else bool(flags & _THROTTLED_NOW)
