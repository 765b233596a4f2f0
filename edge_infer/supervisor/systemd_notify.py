"""Notifications to systemd about readiness, status and liveness: one datagram each (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from edge_infer.platform.logs import printable

_log = logging.getLogger(__name__)


class Notifier:
    """Sends to ``$NOTIFY_SOCKET``. Without this variable, as in a manual start, every method does nothing.

    If a datagram cannot be sent, this is logged and never stops the daemon; the time-outs of systemd then apply.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = _watchdog(environ)

    def watchdog_interval(self) -> float | None:
        """Return the seconds within which to call `watchdog`: half of systemd's time-out; None without a watchdog."""
        return self._interval if self._address else None

    def ready(self, status: str) -> None:
        """Report readiness; ``status`` is one line for ``systemctl status``."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Report the current status in one line."""
        self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> None:
        """Report that the daemon makes progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the shutdown has begun."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outlet:
                outlet.setblocking(False)
                outlet.sendto(text.encode(), self._address)
        except OSError as error:
            _log.warning("systemd notification %r failed: %s", text.partition("\n")[0], error)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return half of ``WatchdogSec`` of the unit, as sd_watchdog_enabled(3) advises."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2e6


def _line(text: str) -> str:
    """Return one printable line.

    A line break would begin another assignment, and ``systemctl status`` prints the line unchanged.
    """
    return printable(" ".join(text.split()))
