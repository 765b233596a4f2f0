"""Restrictions that a process applies to itself without a filter: privileges, capabilities, its memory image."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel
from edge_infer.sandbox.identity import Identity

_SET_DUMPABLE, _GET_DUMPABLE, _CAPBSET_READ, _CAPBSET_DROP = 4, 3, 23, 24
_SET_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 38, 39, 47, 2, 4
_SET_KEEPCAPS: Final = 8
_CAPABILITIES_V3: Final = 0x20080522
_SETPCAP: Final = 8
_RLIMIT_LOCKS: Final = 10
_MESSAGE_QUEUES: Final = "Max msgqueue size"
_MAX_TASKS: Final = 1 << 22
"""The kernel assigns no more pids than this."""
READ_SEARCH: Final = 1 << 2
"""``CAP_DAC_READ_SEARCH``: reading files and folders without permission by owner, group or mode."""
OVERRIDE: Final = 1 << 1
"""``CAP_DAC_OVERRIDE``: reading and writing files without permission by owner, group or mode."""

CAPTURE: Final = 1 << 12 | 1 << 13
"""``CAP_NET_RAW`` and ``CAP_NET_ADMIN``: to capture packets without losses."""


class _Header(ctypes.Structure):  # struct __user_cap_header_struct
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Sets = ctypes.c_uint32 * 6  # effective, permitted, inheritable; then the same for capabilities from 32 upwards


def forbid_core_dumps() -> None:
    """Prevent memory dumps of this process and its children after a crash.

    The limit does not apply to a program that collects crashes, but the dump that it gets contains no memory either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a kernel without core dumps has no such file
        Path("/proc/self/coredump_filter").write_text("0")


def forbid_message_queues() -> None:
    """Forbid POSIX message queues permanently, also for child processes: frames could pass through them.

    The limit also marks the process and all its descendants (`without_message_queues`).
    """
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))


def without_message_queues(pid: int) -> bool:
    """Return whether a process descends from one that called `forbid_message_queues`; raises `OSError`.

    A process cannot remove this mark without a capability. A program that a user starts does not have the mark, because
    Linux sets a limit of 819,200 bytes by default.
    """
    lines = Path(f"/proc/{pid}/limits").read_text(errors="replace").splitlines()
    limits = [line.removeprefix(_MESSAGE_QUEUES).split() for line in lines if line.startswith(_MESSAGE_QUEUES)]
    return any(hard == "0" for _soft, hard, _unit in limits)


def bound_files(most: int) -> None:
    """Limit the number of open files permanently, also for child processes.

    The limit also applies to files in transit: when this many files of the user are in transit between processes, the
    kernel refuses further sends of this process (``ETOOMANYREFS``). A process with a higher limit can still send files
    (`allow_files`).
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bound_file_size(most: int) -> None:
    """Limit the size of every file that this process writes, permanently; a write beyond it fails with ``EFBIG``."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def bound_processes(spare: int) -> None:
    """Limit the tasks of this user permanently, for this process and those that it starts.

    At least ``spare`` more tasks may run than now. The kernel does not report how many tasks of the user there are in
    all containers together, so a fork tests whether a limit is high enough. The limit does not apply to root.
    """
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = spare
    while most < _MAX_TASKS and not _leaves_room(most, hard):
        most *= 2
    most = most + spare if hard == resource.RLIM_INFINITY else min(most + spare, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _leaves_room(most: int, hard: int) -> bool:
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))
    try:
        if (child := os.fork()) == 0:
            os._exit(0)
    except OSError:
        return False
    os.waitpid(child, 0)
    return True


def mark_descendants() -> None:
    """Mark this process and all its descendants permanently, so that `marked` recognizes those that outlive it.

    The mark is a limit (``RLIMIT_LOCKS``) that the kernel does not enforce. Every child inherits it, and only a
    capability permits to raise it.
    """
    with suppress(OSError, ValueError):  # an emulated kernel may not have it
        resource.setrlimit(_RLIMIT_LOCKS, (0, 0))


def marked(pid: int) -> bool:
    """Return whether another process of this user descends from one that called `mark_descendants`."""
    with suppress(OSError):  # the process has ended, or has another user
        return resource.prlimit(pid, _RLIMIT_LOCKS)[1] == 0 != resource.getrlimit(_RLIMIT_LOCKS)[1]
    return False


def allow_files(most: int) -> None:
    """Raise the limit of open files as far as the hard limit allows; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def forbid_new_privileges() -> None:
    """Prevent programs started from here from gaining privileges: setuid and file capabilities have no effect."""
    kernel.prctl(_SET_NO_NEW_PRIVS, 1)


def forbid_dumping() -> None:
    """Prevent other processes of this user from reading this memory, tracing this process or taking its files.

    There is no core dump either.
    """
    kernel.prctl(_SET_DUMPABLE, 0)


def allow_dumping() -> None:
    """Restore access for the new user after a change of user: until then ``/proc`` of this process belongs to root."""
    kernel.prctl(_SET_DUMPABLE, 1)


@contextmanager
def shown(dumpable: bool) -> Iterator[None]:
    """If ``dumpable``, let this process access its own ``/proc`` files inside the context.

    After the context, `forbid_dumping` is in force.
    """
    with suppress(PermissionError):  # the filter of the parent process may forbid it
        if dumpable:
            allow_dumping()
    try:
        yield
    finally:
        forbid_dumping()


def drop_capabilities(keep: int = 0) -> None:
    """Drop all capabilities except ``keep`` (one bit each), for this process and its children.

    There is one exception. Root keeps ``CAP_DAC_READ_SEARCH`` if this program is in folders that root can read only
    with that capability, such as the private home of the user who installed it.
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
    """Drop every capability, for this process and its children, even if they can then read fewer files.

    A process without capabilities makes no call, because the unit's filter refuses ``capset``.
    """
    if not any(_sets()):
        return
    _clear_inherited()
    _set_all(0)


def become(identity: Identity, keep: int = 0, alone: int = 0) -> None:
    """Turn root into another user permanently; raises `OSError` before any change if the kernel refuses.

    The capabilities ``keep`` stay, also for child processes; the capabilities ``alone`` stay for this process only.
    ``CAP_DAC_READ_SEARCH`` also stays if the other user cannot read this program otherwise (see `drop_capabilities`).
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
    """Return whether `drop_capabilities` would keep ``CAP_DAC_READ_SEARCH``, so that this program stays readable."""
    effective, permitted = _sets()[:2]
    if not permitted & READ_SEARCH:
        return False
    _set_effective(0)
    try:
        return not _program_readable()
    finally:
        _set_effective(effective)


def capabilities() -> int:
    """Return the capabilities that this process has or can regain, one bit each."""
    values = _sets()
    return (values[0] | values[1]) | (values[3] | values[4]) << 32


def may_read_any_file() -> bool:
    """Return whether this process may read files regardless of their permissions."""
    return os.geteuid() == 0 or bool(capabilities() & (READ_SEARCH | OVERRIDE))


def dumpable() -> bool:
    """Return whether other processes of the same user may inspect this one."""
    return kernel.prctl(_GET_DUMPABLE) != 0


def may_gain_privileges() -> bool:
    """Return whether a setuid program would still take effect."""
    return kernel.prctl(_GET_NO_NEW_PRIVS) == 0


def core_limit() -> int:
    """Return the maximum size of core files in bytes that this process or its children may request; -1: any."""
    return resource.getrlimit(resource.RLIMIT_CORE)[1]


def _program_readable() -> bool:
    """Return whether the folders of imported modules can be listed with the capabilities in effect now."""
    package = Path(__file__).parents[1]
    for folder in (*sys.path, str(Path(__file__).parent)):
        if not folder or (Path(folder) != package.parent and Path(folder) == Path.cwd()):
            continue  # the current directory, which `python -m` adds
        try:
            os.scandir(folder).close()
        except PermissionError:
            return False
        except OSError:  # the folder is missing, or an archive; capabilities make no difference
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
        except OSError:  # the kernel has no further capabilities
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
    """Set the capabilities; programs started by a user other than root get only the inherited capabilities."""
    inherited = low if os.geteuid() != 0 else 0
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(low | alone, low | alone, inherited, 0, 0, 0))
    for capability in range(32):
        if inherited & 1 << capability:
            kernel.prctl(_CAP_AMBIENT, _AMBIENT_RAISE, capability)


def _set_all(low: int) -> None:
    kernel.capset(_Header(_CAPABILITIES_V3, 0), _Sets(low, low, 0, 0, 0, 0))


# Protection of a process's memory against being swapped to disk.

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


def pin(root: Path = Path("/")) -> None:
    """Keep every page off the disk; raises `OSError` with the reason if that is impossible.

    Nothing is needed without swap space on a disk (zram is memory), or if the control group forbids swap
    (``MemorySwapMax=0``). Otherwise pages are locked when they are touched. Locking requires an unlimited
    RLIMIT_MEMLOCK; with a limit, a later allocation would fail. ``root`` contains ``proc`` and ``sys``.
    """
    if not _swap_on_disk(root) or _group_has_none(root):
        return
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(
            errno.EPERM, "there is swap space, and LimitMEMLOCK=infinity is missing to keep memory out of it"
        ) from error
    kernel.mlockall(_CURRENT | _FUTURE | _ON_FAULT)


def _swap_on_disk(root: Path) -> bool:
    try:
        lines = (root / "proc/swaps").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(not line.startswith("/dev/zram") for line in lines)


def _group_has_none(root: Path) -> bool:
    """Return whether a control group (version 2) of this process forbids swap."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return False
    name = next((line[3:] for line in lines if line.startswith("0::")), "")
    group = root / "sys/fs/cgroup" / name.lstrip("/")
    return any(_text(folder / "memory.swap.max") == "0" for folder in (group, *group.parents))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
