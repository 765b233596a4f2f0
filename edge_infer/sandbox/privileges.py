"""What a process can give up about itself without a filter: privileges, capabilities, its memory image."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel

_SET_DUMPABLE, _GET_DUMPABLE, _CAPBSET_READ, _CAPBSET_DROP = 4, 3, 23, 24
_SET_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 38, 39, 47, 2, 4
_SET_KEEPCAPS: Final = 8
_CAPABILITIES_V3: Final = 0x20080522
_SETPCAP: Final = 8
READ_SEARCH: Final = 1 << 2
"""``CAP_DAC_READ_SEARCH``: to read files and folders that are closed to root as an owner or member."""


class _Header(ctypes.Structure):  # struct __user_cap_header_struct
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Sets = ctypes.c_uint32 * 6  # effective, permitted, inheritable; then the same of capabilities from 32 upwards


def forbid_core_dumps() -> None:
    """No picture of this memory is written when it crashes; its children inherit that.

    A program that collects crashes is not bound by the limit: what it would be given holds no memory either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a kernel without core dumps has no such file
        Path("/proc/self/coredump_filter").write_text("0")


def forbid_message_queues() -> None:
    """No POSIX message queues, for ever and for all that it starts; the supervisor knows its rooms by that."""
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))


def message_queues(pid: int = 0) -> float:
    """The most bytes of message queues that a process of this user may ever ask for; raises `OSError`."""
    hard = resource.prlimit(pid, resource.RLIMIT_MSGQUEUE)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard


def forbid_new_privileges() -> None:
    """No program that is started from here gains privileges: setuid and file capabilities have no effect."""
    kernel.prctl(_SET_NO_NEW_PRIVS, 1)


def forbid_dumping() -> None:
    """No other process of the same user may read this memory, trace it, or take its open files; no core either."""
    kernel.prctl(_SET_DUMPABLE, 0)


def drop_capabilities(keep: int = 0) -> None:
    """Gives up all capabilities but ``keep`` (one bit each), for this process and what it starts.

    One exception: root keeps ``CAP_DAC_READ_SEARCH`` where this program itself lies in folders that only the capability
    lets root read, as in the private home of the user who installed it.
    """
    if not any(_sets()):
        return
    _clear_inherited()
    kept = _sets()
    _set_effective(0)
    keep |= 0 if _program_readable() else READ_SEARCH
    if kept[0] & 1 << _SETPCAP:
        _set_effective(1 << _SETPCAP)
        _drop_bounding(keep)
    _set_all(keep & kept[1])


def become(user: int, group: int, keep: int) -> None:
    """Root turns into another user, for ever, with the capabilities ``keep`` for itself and what it starts."""
    kernel.prctl(_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(keep, keep, keep, 0, 0, 0))
    for capability in range(32):
        if keep & 1 << capability:
            kernel.prctl(_CAP_AMBIENT, _AMBIENT_RAISE, capability)


def capabilities() -> int:
    """The capabilities that this process has or can get back, one bit each."""
    values = _sets()
    return (values[0] | values[1]) | (values[3] | values[4]) << 32


def dumpable() -> bool:
    """Whether others of the same user may look into this process."""
    return kernel.prctl(_GET_DUMPABLE) != 0


def may_gain_privileges() -> bool:
    """Whether a setuid program would still have its effect."""
    return kernel.prctl(_GET_NO_NEW_PRIVS) == 0


def core_limit() -> int:
    """The largest core file in bytes that this process or its children may ever ask for; -1: any."""
    return resource.getrlimit(resource.RLIMIT_CORE)[1]


def _program_readable() -> bool:
    """Whether the folders that modules are imported from can be listed with the capabilities in effect now."""
    for folder in (*sys.path, str(Path(__file__).parent)):
        try:
            os.scandir(folder or ".").close()
        except PermissionError:
            return False
        except OSError:  # not there, or an archive: nothing that a capability decides
            continue
    return True


def _clear_inherited() -> None:
    try:
        kernel.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a kernel before 4.3 has no ambient set
            raise


def _drop_bounding(keep: int) -> None:
    for capability in range(64):
        if keep & 1 << capability:
            continue
        try:
            kernel.prctl(_CAPBSET_READ, capability)
        except OSError:  # the kernel knows no further ones
            return
        kernel.prctl(_CAPBSET_DROP, capability)


def _sets() -> list[int]:
    values = _Sets()
    kernel.capget(_Header(_CAPABILITIES_V3, 0), values)
    return list(values)


def _set_effective(low: int) -> None:
    values = _sets()
    values[0], values[3] = low & values[1], 0
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(*values))


def _set_all(low: int) -> None:
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(low, low, 0, 0, 0, 0))
