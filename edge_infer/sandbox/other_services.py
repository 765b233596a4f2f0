"""Services of the system that pass on what a process sends to them over a Unix socket.

The unit closes them to the whole service. A process that may create Unix sockets could otherwise send data off the
device although it has no network.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

AVAHI: Final = "/run/avahi-daemon"
RESOLVED: Final = "/run/systemd/resolve/io.systemd.Resolve"
STUB: Final = "/run/systemd/resolve/stub-resolv.conf"
"""The file that names systemd-resolved itself as the name server. With the network only its search domains change."""
CLOSED: Final = (
    *("/run/systemd/journal", "/run/dbus", AVAHI, "/run/nscd", RESOLVED, f"{RESOLVED}.Monitor"),
    *("/run/systemd/io.systemd.Import", "/run/systemd/machine", "/run/cups", "/run/rpcbind.sock"),
    *("/run/snapd.socket", "/run/snapd-snap.socket"),
)
"""Folders and sockets in ``InaccessiblePaths=`` of the unit.

These services look up names, print, download, or start programs. The journal is included because lines in it could
claim to be the supervisor's.
"""
_SENDERS: Final = (
    *("/run/dbus/system_bus_socket", "/run/user/{uid}/bus", "/run/user/{uid}/systemd/private"),
    *(f"{AVAHI}/socket", "/run/nscd/socket", RESOLVED, "/run/systemd/io.systemd.Import"),
    *("/run/systemd/machine/io.systemd.Machine", "/run/cups/cups.sock", "/run/rpcbind.sock"),
    *("/run/snapd.socket", "/run/snapd-snap.socket"),
)


def reached(sockets: Iterable[str] = _SENDERS) -> bool:
    """Return whether this process may connect to a service that sends data off the device."""
    uid = os.geteuid()
    return any(os.access(path.format(uid=uid), os.W_OK, effective_ids=True) for path in sockets)


def is_closed(path: str) -> bool:
    """Return whether a socket, or the folder of one, exists and the unit closes it to this process."""
    return os.path.lexists(path) and not os.access(path, os.X_OK if os.path.isdir(path) else os.W_OK)  # noqa: PTH112
