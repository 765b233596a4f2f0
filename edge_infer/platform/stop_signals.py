"""Signals of systemd that a child process ignores, so that a unit may send them to all its processes."""

from __future__ import annotations

import signal
from typing import Final

_SENT: Final = (signal.SIGTERM, signal.SIGABRT)
"""The signal of a stop, and that of the watchdog."""


def leave_stops_to_supervisor() -> None:
    """Ignore these signals. The supervisor orders the stop; when it ends, this process finishes its work and ends.

    Only the main thread may call this. ``abort(3)`` still ends the process.
    """
    for number in _SENT:
        signal.signal(number, signal.SIG_IGN)
