"""Who is at the other end of the control socket: people and their programs, but none of the rooms.

A room has the daemon's user and may, but for the engine, connect to sockets of the file system, which Landlock does not
cover. It could ask for a picture of a camera there, and the publisher has a network to send it over.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

_FARTHEST: Final = 64
"""Generations that are looked at."""


def is_room(connection: socket.socket) -> bool:
    """Whether it was made by a room, by what one has started, or by one of this user's that cannot be looked at.

    Another user's process is none. One of this user's is a room's when this process is among its ancestors, or when it
    has more filters of system calls on it than this process: a room can part with neither its user nor its filter.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, _ = struct.unpack("3i", credentials)
    if user != os.geteuid():
        return False
    try:
        return _filters(pid) > _filters(os.getpid()) or _descends(pid)
    except (OSError, KeyError, ValueError):  # it is gone, or not dumpable as only rooms are
        return True


def _descends(pid: int) -> bool:
    for _ in range(_FARTHEST):
        if pid in (0, 1):
            return False
        if (pid := int(_status(pid)["PPid"])) == os.getpid():
            return True
    return True


def _filters(pid: int) -> int:
    """How many there are; 0 on a kernel before 5.9, which does not count them."""
    return int(_status(pid).get("Seccomp_filters", "0"))


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
