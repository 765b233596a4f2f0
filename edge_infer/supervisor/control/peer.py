"""The process at the other end of the control socket: its identification, and limits for each user.

The daemon refuses its own descendants. A child process of the daemon runs as the daemon's user, so the permissions of
the socket admit it. Without this check the publisher could request a picture here and send it over the network.
"""

from __future__ import annotations

import errno
import math
import os
import pwd
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from edge_infer.errors import EdgeInferError
from edge_infer.platform.event_loop import readable
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.sandbox import privileges

# Ancestors of a process, as ``/proc`` shows them.


class Birth(NamedTuple):
    """The parent and the start time of a process."""

    parent: int
    started: int
    """Start time in clock ticks since boot."""


def birth(pid: int) -> Birth:
    """Return the parent and the start time of a process; raises `OSError` if it has ended or ``/proc`` hides it."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # the name may contain any character
    return Birth(int(fields[1]), int(fields[19]))


def ticks() -> int:
    """Return the time since boot in the unit of `Birth.started`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def descends(pid: int, ancestor: int) -> bool:
    """Return whether ``pid`` is ``ancestor`` or a descendant of it; raises `OSError` if its ancestors are unknown.

    ``ancestor`` must be the process that adopts its orphans (`Orphans`). Otherwise an orphaned descendant
    would have the init process as its parent.
    """
    child_started: float = math.inf
    while pid > 1:
        if pid == ancestor:
            return True
        parent, started = birth(pid)
        if started > child_started:  # the parent has ended, and another process has its pid
            raise ProcessLookupError(f"process {pid} is younger than its child")
        pid, child_started = parent, started
    return pid == ancestor


_SO_PEERGROUPS, _SO_PEERPIDFD = 59, 77
_MOST_GROUPS: Final = 256
"""Maximum number of groups that Python can return here."""
Pidfd: TypeAlias = Callable[[socket.socket], "int | None"]
"""Opens a pidfd of the process that connected. Returns None if the kernel cannot; raises `OSError` if the process is
gone."""


class RefusedError(EdgeInferError, PermissionError):
    """The daemon refuses to answer the process that connected."""

    exit_code = 1


class TooYoungError(RefusedError):
    """The pid may have been reused since the process connected; a second connection settles this."""


class EndedError(RefusedError):
    """The process that connected has ended since."""


PAGE_USER: Final = "edge-infer-page"
"""User of the unit that serves the local page; no other process runs as this user."""


def user_name(uid: int) -> str:
    """Return the name of a user, or the user id as text if there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, as it was at that time. ``groups`` are all groups of the process."""

    pid: int
    uid: int
    groups: frozenset[int]

    @property
    def user(self) -> str:
        """Name of the user of the process."""
        return user_name(self.uid)

    @property
    def is_page(self) -> bool:
        """Whether the process serves the local page, and so makes requests for people at browsers."""
        if self.uid in (0, os.geteuid()):
            return False
        try:
            return pwd.getpwnam(PAGE_USER).pw_uid == self.uid
        except KeyError:
            return False


def peer_pidfd(connection: socket.socket) -> int | None:
    """Open a pidfd of the process that connected (Linux 6.5); see `Pidfd`."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise


def identify(connection: socket.socket, quiet: int, *, daemon: int | None = None, pidfd: Pidfd = peer_pidfd) -> Peer:
    """Return the connected process; raises `RefusedError` for ``daemon``, its descendants, and unknown ancestry.

    ``quiet`` is a time before the process connected (see `ticks`). ``daemon`` is the current process by default.
    """
    peer = _peer(connection)
    if os.geteuid() not in (0, peer.uid) and not privileges.capabilities():
        return peer  # no descendant of the daemon can change its user, because `Daemon.run` forbids new privileges
    if peer.pid == 0:
        raise RefusedError(
            "the daemon cannot identify a process of another container; run the command in its container"
        )
    file = None
    try:
        file = pidfd(connection)
        ours = descends(peer.pid, os.getpid() if daemon is None else daemon)
        left = privileges.without_message_queues(peer.pid)
        _check_still_itself(peer.pid, file, quiet)
    except OSError as error:
        raise _unseen(peer, file, error) from error
    finally:
        if file is not None:
            os.close(file)
    if ours:
        raise RefusedError(f"the daemon does not answer processes that it started, such as {peer.pid}")
    if left:  # an orphan of a daemon that was killed
        raise RefusedError(
            f"process {peer.pid} may have no message queue, like the processes of a daemon; "
            "run it where `ulimit -Hq` shows more than 0"
        )
    return peer


def _peer(connection: socket.socket) -> Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    pid, uid, gid = struct.unpack("iII", credentials)
    size = struct.calcsize("I")
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * size)
    except OSError:  # more groups than the limit, or a kernel without this option
        data = b""
    return Peer(pid, uid, frozenset({gid, *struct.unpack(f"{len(data) // size}I", data)}))


def _check_still_itself(pid: int, file: int | None, quiet: int) -> None:
    """Raise an error unless the process that has this pid now is the one that connected.

    With a pidfd, the check is that the process has not ended. Without a pidfd, the process must have started before the
    connection, so that no other process can have had the pid at that time.
    """
    if file is None:
        if birth(pid).started >= quiet:
            raise TooYoungError(f"the daemon cannot verify yet that process {pid} connected; try again")
    elif readable([file]):
        raise ProcessLookupError(f"process {pid} has ended")


def _unseen(peer: Peer, file: int | None, error: OSError) -> RefusedError:
    """Return the error for a process that could not be identified; ``file`` is a pidfd of the process."""
    if isinstance(error, RefusedError):
        return error
    text = f"the daemon cannot identify process {peer.pid} ({error.strerror or error})"
    if _has_ended(peer.pid, file):
        return EndedError(f"{text}: it has ended")
    return RefusedError(f"{text}: it has ended, or /proc is mounted with hidepid; run the command as root, with sudo")


def _has_ended(pid: int, file: int | None) -> bool:
    """Return whether the process has ended. A ``/proc`` with hidepid hides processes that run, but not from signals."""
    if file is not None:
        return bool(readable([file]))
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False


# Limits what each user may do over the control socket.
#
# Changes are limited because each is logged, and some are written to disk.

MAX_AT_ONCE: Final = 128
MAX_PER_SECOND: Final = 1.0
MAX_USERS: Final = 32
"""Number of users that are counted separately, besides root. Further users share one limit, until one of the counted
users has been quiet for a while."""
_ROOT: Final = 0
_ALL_OTHERS: Final = -1


class UserBuckets:
    """A token bucket for each user, so that no user can block another one."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate = burst, rate
        self._clock = clock
        self._users: dict[int, TokenBucket] = {}

    def take(self, uid: int) -> bool:
        """Take a token of this user; return whether the user had one left."""
        if uid not in self._users and len(self._users) >= MAX_USERS:
            self._users = {each: bucket for each, bucket in self._users.items() if bucket.left() < self._burst}
        if uid not in (_ROOT, *self._users) and len(self._users) >= MAX_USERS:  # one person may use many user ids
            uid = _ALL_OTHERS
        return self._users.setdefault(uid, TokenBucket(self._burst, self._rate, self._clock)).take()


class ChangeLimit:
    """Counts the changes of each user separately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = UserBuckets(MAX_AT_ONCE, MAX_PER_SECOND, clock)

    def count(self, uid: int) -> None:
        """Count a change by this user; raises `EdgeInferError` if there are too many."""
        if not self._users.take(uid):
            raise EdgeInferError(
                f"too many changes: after {MAX_AT_ONCE} in a row the daemon accepts one a second; try again in a moment"
            )
