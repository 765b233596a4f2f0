"""Limits the edits of the page, because they change messages and the page's process may be compromised."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_infer.errors import EdgeInferError
from edge_infer.platform.durable_files import write_durably

MAX_AT_ONCE: Final = 60
SECONDS_EACH: Final = 60.0


class EditLimitError(EdgeInferError):
    """There have been too many edits; the text says when the next ones are possible."""


class EditLimit:
    """Allows `MAX_AT_ONCE` edits in a row and then one every `SECONDS_EACH`, for the page as a whole.

    Not safe for threads or processes: the writer holds its lock while it counts.
    """

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """``file`` stores the count for the next process. A reboot removes the file and starts the clock again."""
        self._file = file
        self._clock = clock
        self._used, self._at = 0.0, clock()

    def count(self, edits: int) -> None:
        """Count edits before they are made; raises `EditLimitError` if there are too many, or `OSError`."""
        used, now = self._now()
        if (excess := used + edits - MAX_AT_ONCE) > 0:
            minutes = math.ceil(excess * SECONDS_EACH / 60)
            raise EditLimitError(
                f"too many edits: after {MAX_AT_ONCE} in a row the page may make one a minute; nothing was saved: save "
                f"again in {minutes} {'minute' if minutes == 1 else 'minutes'}"
            )
        if self._file is not None:  # before the edit, so that a process that ends meanwhile has still used it
            write_durably(self._file, json.dumps([used + edits, now]).encode(), 0o600)
        self._used, self._at = used + edits, now

    def _now(self) -> tuple[float, float]:
        """Return the number of edits that count now, and the time."""
        now = self._clock()
        used, at = (self._used, self._at) if self._file is None else _stored(self._file, now)
        return max(0.0, used - max(0.0, now - at) / SECONDS_EACH), now


def _stored(file: Path, now: float) -> tuple[float, float]:
    try:
        used, at = json.loads(file.read_bytes())
        return float(used), float(at)
    except FileNotFoundError:
        return 0.0, now
    except (ValueError, TypeError):  # only root writes this file; without valid content no edit is allowed at once
        return float(MAX_AT_ONCE), now
