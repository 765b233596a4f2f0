"""Credential files of the connection; a change takes effect without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_infer.plan.records import MqttPlan

LOOK_EVERY: Final = 2.0
_Look = tuple[tuple[int, int, int] | None, ...]


class SecretFiles:
    """Password, CA, certificate and key files of a plan.

    Changes are detected by time, size and inode; the content is not read here.
    """

    def __init__(self, plan: MqttPlan, clock: Callable[[], float] = time.monotonic) -> None:
        tls = plan.tls
        paths = (plan.password_file, *((tls.ca_file, tls.cert_file, tls.key_file) if tls else ()))
        self._paths = tuple(Path(path) for path in paths if path)
        self._clock = clock
        self._look_at = 0.0
        self.used()

    def used(self) -> None:
        """Remember the current files as those that an attempt uses."""
        self._before = self._used = self._look()

    def changed(self) -> bool:
        """Whether the files differ from those in use.

        They must also be unchanged since the previous check, so that writing is complete.
        """
        if not self._paths or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + LOOK_EVERY
        now = self._look()
        still, self._before = now == self._before, now
        return still and now != self._used

    def _look(self) -> _Look:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
