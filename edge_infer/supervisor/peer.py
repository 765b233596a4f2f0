"""Who is at the other end of the control socket: people and their programs, but none of the rooms.

A room has the daemon's user and may, but for the engine, connect to sockets of the file system, which Landlock does not
cover. It could ask for a picture of a camera there, and the publisher has a network to send it over.
"""

from __future__ import annotations

import os
import socket
import struct

from edge_infer.sandbox import privileges


def is_room(connection: socket.socket) -> bool:
    """Whether it was made by a room, or by what one has started.

    A room gives up message queues as it locks itself (`privileges.forbid_message_queues`), for itself and all that it
    starts, and can part neither with that nor with its user and group. The limit of any process of this user and group
    can be asked for, where ``/proc`` shows neither rooms nor what systemd starts beside them.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, group = struct.unpack("3i", credentials)
    if (user, group) != (os.geteuid(), os.getegid()):
        return False
    try:
        return privileges.message_queues(pid) < privileges.message_queues()
    except OSError:  # it is gone
        return True
