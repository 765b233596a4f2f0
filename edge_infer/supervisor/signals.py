"""Signals as a descriptor to wait on: SIGTERM and SIGINT stop the daemon, SIGHUP reloads the configuration.

The daemon ignores SIGUSR1 and SIGUSR2, which other daemons use to reopen their logs. Its children inherit this.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Any


class Signals:
    """Collects the signals of the process while the context is open. The main thread handles them when it is ready."""

    def __init__(self) -> None:
        self.stop = False
        self._reload = False
        self._reading, self._writing = -1, -1
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup = -1

    def __enter__(self) -> Signals:
        """Install the handlers."""
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._take)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self._before[number] = signal.signal(number, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        for end in (self._reading, self._writing):
            os.close(end)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a signal until `drain`."""
        return self._reading

    def drain(self) -> None:
        """Discard the pending wake-ups."""
        with suppress(BlockingIOError):
            os.read(self._reading, 4096)

    def take_reload(self) -> bool:
        """Return whether a reload was requested since the last call."""
        self.drain()
        asked, self._reload = self._reload, False
        return asked

    def _take(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stop = True
