"""Word to systemd about readiness, state and life: one datagram each (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from edge_infer.logs import printable

_log = logging.getLogger(__name__)


class Notifier:
    """Sends to ``$NOTIFY_SOCKET``; without one, as when started by hand, every method does nothing.

    A datagram that does not get through is logged and never stops the daemon: systemd's own time-outs then decide.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = _watchdog(environ)

    def watchdog_interval(self) -> float | None:
        """Seconds after which to call `watchdog` again, half of what systemd waits; None when it does not wait."""
        return self._interval if self._address else None

    def ready(self, status: str) -> None:
        """The start is done; ``status`` is one line for ``systemctl status``."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """What goes on, in one line."""
        self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> None:
        """The daemon makes progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outlet:
                outlet.setblocking(False)
                outlet.sendto(text.encode(), self._address)
        except OSError as error:
            _log.warning("systemd does not hear %r: %s", text.partition("\n")[0], error)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Half of the unit's ``WatchdogSec``, as sd_watchdog_enabled(3) advises."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2e6


def _line(text: str) -> str:
    """One line: a line break would begin another assignment. ``systemctl status`` shows it as it is."""
    return printable(" ".join(text.split()))
