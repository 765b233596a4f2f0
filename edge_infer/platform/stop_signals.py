"""Signals of systemd that a child process leaves to the supervisor, so that a unit may send them to all processes."""

from __future__ import annotations

import signal
from typing import Final

_SENT: Final = (signal.SIGTERM, signal.SIGABRT)
"""Of a stop, and of the watchdog."""


def leave_stops_to_supervisor() -> None:
    """Ignore these signals: the supervisor orders the stop, and its end makes this process finish its work and end.

    Only the main thread may call this. ``abort(3)`` ends the process all the same.
    """
    for number in _SENT:
        signal.signal(number, signal.SIG_IGN)
