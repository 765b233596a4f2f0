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
from edge_infer.sandbox.identity import Identity

_SET_DUMPABLE, _GET_DUMPABLE, _CAPBSET_READ, _CAPBSET_DROP = 4, 3, 23, 24
_SET_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 38, 39, 47, 2, 4
_SET_KEEPCAPS: Final = 8
_CAPABILITIES_V3: Final = 0x20080522
_SETPCAP: Final = 8
READ_SEARCH: Final = 1 << 2
"""``CAP_DAC_READ_SEARCH``: to read files and folders that are closed to root as an owner or member."""

CAPTURE: Final = 1 << 12 | 1 << 13
"""``CAP_NET_RAW`` and ``CAP_NET_ADMIN``: to capture packets without losing some."""


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
    """No POSIX message queues, for ever and for all that it starts: no way for frames from one room to another."""
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))


def bound_files(most: int) -> None:
    """At most so many open files, for ever and for all that it starts.

    It bounds as well how many files of this user may be on their way between processes before the kernel refuses this
    one to send more (``ETOOMANYREFS``): whoever has a higher limit can always send some (`allow_files`).
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def allow_files(most: int) -> None:
    """As many open files, where the hard limit allows; not fewer than before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def forbid_new_privileges() -> None:
    """No program that is started from here gains privileges: setuid and file capabilities have no effect."""
    kernel.prctl(_SET_NO_NEW_PRIVS, 1)


def forbid_dumping() -> None:
    """No other process of the same user may read this memory, trace it, or take its open files; no core either."""
    kernel.prctl(_SET_DUMPABLE, 0)


def allow_dumping() -> None:
    """Makes a process that has changed its user one of that user again: until then its own ``/proc`` is root's."""
    kernel.prctl(_SET_DUMPABLE, 1)


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
    _keep(keep & kept[1])


def drop_all_capabilities() -> None:
    """Gives up every capability, for this process and what it starts, whatever it cannot read then."""
    _clear_inherited()
    _set_all(0)


def become(identity: Identity, keep: int = 0, alone: int = 0) -> None:
    """Turns root into another user for ever; raises `OSError` where the kernel refuses, before anything has changed.

    The capabilities ``keep`` stay, also for what it starts; those ``alone`` for this process only. So does
    ``CAP_DAC_READ_SEARCH`` where the other user cannot read this program otherwise (see `drop_capabilities`).
    """
    held = _sets()[1]
    kernel.prctl(_SET_KEEPCAPS, 1)
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    _clear_inherited()
    if _sets()[0] & 1 << _SETPCAP:
        _drop_bounding(keep | alone | READ_SEARCH)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    kernel.prctl(_SET_KEEPCAPS, 0)
    keep |= 0 if _program_readable() else READ_SEARCH
    _keep(keep & held, alone & held)


def keeps_read_search() -> bool:
    """Whether `drop_capabilities` would leave ``CAP_DAC_READ_SEARCH``, so that this program can be read."""
    effective, permitted = _sets()[:2]
    if not permitted & READ_SEARCH:
        return False
    _set_effective(0)
    try:
        return not _program_readable()
    finally:
        _set_effective(effective)


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
    package = Path(__file__).parents[1]
    for folder in (*sys.path, str(Path(__file__).parent)):
        if not folder or (Path(folder) != package.parent and Path(folder) == Path.cwd()):
            continue  # where the command was typed, which `python -m` puts there
        try:
            os.scandir(folder).close()
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


def _keep(low: int, alone: int = 0) -> None:
    """Sets the capabilities; programs that a user other than root starts get those that are inherited only."""
    inherited = low if os.geteuid() != 0 else 0
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(low | alone, low | alone, inherited, 0, 0, 0))
    for capability in range(32):
        if inherited & 1 << capability:
            kernel.prctl(_CAP_AMBIENT, _AMBIENT_RAISE, capability)


def _set_all(low: int) -> None:
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(low, low, 0, 0, 0, 0))
