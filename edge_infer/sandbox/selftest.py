"""Self-test of a locked process: it tries forbidden actions and returns the state of each sandbox rule.

Each attempt uses arguments that are harmless if the rule is missing: the call then fails with another error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.sandbox import kernel, network_isolation, other_services, privileges
from edge_infer.sandbox.fence import Fence, UnixUse
from edge_infer.sandbox.rules import (
    AF_INET,
    AF_UNIX,
    Room,
    binds,
    families_of,
    makes_namespaces,
    makes_processes,
    shares_memory,
    starts_programs,
)

ENFORCED: Final = "enforced"
BY_FILTER: Final = f"{ENFORCED} by seccomp alone"
BUT_SERVICES: Final = f"{ENFORCED} but for services that listen on Unix sockets"
FORBIDDEN_BY_UNIT: Final = "(the unit forbids it: its sockets are refused all the same)"
"""End of the state of a rule that the systemd unit itself prevents the process from applying."""
_UNIX_USES: Final[Mapping[UnixUse, str]] = {
    "names": "names of hosts are looked up over them",
    "sound": "sound services are reached over them",
    "programs": "a program that is not ours may need them",
}
TRIED: Final[Mapping[str, str]] = {
    "seccomp": "add_key, personality",
    "no_network": "socket, socketpair, connect, bind, listen, accept",
    "network_namespace": "comparison of the namespace with the earlier one",
    "ports": "connect to another port of this device",
    "files": "list /, write /proc/self/comm",
    "no_camera": "ioctl VIDIOC_QUERYCAP",
    "no_microphone": "ioctl SNDRV_PCM_IOCTL_INFO",
    "no_tracing": "ptrace, process_vm_readv, process_vm_writev, pidfd_getfd",
    "not_dumpable": "prctl PR_GET_DUMPABLE",
    "no_signals": "kill, tkill, tgkill, rt_sigqueueinfo, pidfd_open, F_SETOWN on the parent and others",
    "no_calls_on_others": "prlimit64, setpriority, sched_set*, ioprio_set, kcmp and others on the parent and another",
    "no_unix_sockets": "socket, socketpair",
    "no_processes": "clone, clone3, execve, execveat",
    "no_namespaces": "unshare, setns, clone3",
    "no_other_protocols": "MPTCP, TCP Fast Open, and where they are not needed: UDP, bind, listen, accept4",
    "no_file_attributes": "fchmod, fchmodat, fchown, fchownat, utimensat, fsetxattr, fremovexattr, ioctl",
    "no_shared_memory": "shmget, shmat, semget, msgget, mq_open",
    "no_io_uring": "io_uring_setup, io_uring_enter, io_uring_register",
    "no_lasting_flags": "fcntl O_APPEND, setsockopt SO_LOCK_FILTER",
    "not_shown": "prctl PR_SET_MM, PR_SET_DUMPABLE, flock, fcntl F_OFD_SETLK, sched_setattr, ioprio_set",
    "no_capabilities": "capget",
    "no_new_privileges": "prctl PR_GET_NO_NEW_PRIVS",
    "no_core_dump": "getrlimit RLIMIT_CORE",
    "no_swap": "swap space, limits and mlockall",
}
"""The calls that the test tries to find the state of each rule, as text for people."""
_Call = tuple[str, tuple[int, ...]]
"""Name of a system call, and the arguments with which it is tried."""
_NONE = 2**31 - 1  # a pid and a file descriptor that do not exist
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_NONBLOCK = 1, 2, 0o4000
_LIST, _WRITE = "/", "/proc/self/comm"
"""A folder that every user may list, and a file that every process may write to if other processes may inspect it."""
_QUERYCAP: Final = 0x80685600
"""VIDIOC_QUERYCAP, a harmless query to any camera."""
_PCM_INFO: Final = 0x81204101
"""SNDRV_PCM_IOCTL_INFO, a harmless query to any microphone."""
_IOPRIO_WHO_PROCESS, _IOPRIO_GROUPS = 1, (2, 3)
_NO_CLASS: Final = 7 << 13
"""An I/O priority class that does not exist: the call sets nothing."""
_PR_SCHED_CORE, _F_SETOWN, _FIOSETOWN = 62, 8, 0x8901
_F_SETFL, _F_OFD_SETLK, _LOCK_SH = 4, 37, 1
_SOL_SOCKET, _SO_LOCK_FILTER, _FS_IOC_SETFLAGS = 1, 44, 0x40086602
_PR_SET_DUMPABLE, _PR_SET_MM, _PR_SET_MM_MAP_SIZE = 4, 35, 15
_READ_PERSONALITY: Final = 0xFFFFFFFF
_MPTCP, _MSG_FASTOPEN = 262, 0x20000000
_CLONE_SIGHAND: Final = 0x800
"""This flag is valid only for threads. With this flag alone (``clone``), or with an empty description (``clone3``), the
kernel creates no process."""
_MAKE_FILES: Final = frozenset({"socket", "pidfd_open"})
"""Calls that open a file if they are permitted."""


@dataclass(frozen=True, slots=True)
class Before:
    """Access of this process to files and network, before it was locked."""

    lists: bool
    writes: bool
    signals: bool
    network: str


def look() -> Before:
    """Return the current access."""
    return Before(_lists(), _writes(), _signals(), network_isolation.current())


def fences(fence: Fence, before: Before, built: str) -> dict[str, str]:
    """Return the state of the Landlock rules: access that existed before must be gone.

    ``built`` is the outcome of their setup.
    """
    if built != ENFORCED:
        names = ("files", "no_signals", *(() if fence.ports is None else ("ports",)))
        return dict.fromkeys(names, built)
    found = {"files": _files(fence, before), "no_signals": _no_signals(before)}
    if fence.ports is not None:
        found["ports"] = _ports(fence.ports)
    return found


def outside(before: Before, built: str) -> str:
    """Return the state of network isolation: whether this process has left its original network."""
    if built != ENFORCED:
        return f"{built} {FORBIDDEN_BY_UNIT}" if _in_unit() else built
    return _state(network_isolation.current() != before.network, "it is in the network of the system")


def exceptions() -> frozenset[str]:
    """Return the texts that report a rule as not enforced because the configuration needs an exception to it."""
    return frozenset(map(_exception, _UNIX_USES))


def _exception(use: UnixUse) -> str:
    return f"not enforced: {_UNIX_USES[use]}"


def walls(room: Room, fence: Fence, *, network: bool = False) -> dict[str, str]:
    """Return the current state of each rule of the process: ``enforced``, or why not."""
    found = {
        "no_new_privileges": _state(not privileges.may_gain_privileges(), "setuid programs still have their effect"),
        "no_capabilities": _capabilities(),
        "no_core_dump": _state(privileges.core_limit() == 0, "the limit of core files is not 0"),
        "not_dumpable": _state(not privileges.dumpable(), "processes of the same user can read its memory"),
    }
    found.update({wall: _all_refused(calls) for wall, calls in _calls(room, fence, network=network).items()})
    if fence.unix in ("sound", "programs") and found.get("no_network") == ENFORCED and other_services.reached():
        found["no_network"] = BUT_SERVICES
    if fence.unix:
        found["no_unix_sockets"] = _exception(fence.unix)
    return found


def only_known_calls(room: Room, fence: Fence, built: str) -> str:
    """Return the state of the filter: a call that is not on the list must fail.

    ``built`` is the outcome of its setup.
    """
    if built != ENFORCED:
        return built
    calls: list[_Call] = [("add_key", (0, 0, 0, 0, 0))]
    if not shares_memory(room, fence):
        calls.append(("personality", (_READ_PERSONALITY,)))
    return _all_refused(calls)


def no_signals(room: Room, fence: Fence, scoped: str) -> str:
    """Return whether signals to other processes are blocked; ``scoped`` is the tested state of Landlock's rule."""
    if starts_programs(room, fence) or _all_refused(_signal_calls()) != ENFORCED:
        return scoped
    return ENFORCED if scoped.startswith(ENFORCED) else BY_FILTER


def _calls(room: Room, fence: Fence, *, network: bool) -> dict[str, Iterable[_Call]]:
    """Return the calls to try for each rule."""
    found: dict[str, Iterable[_Call]] = {
        "no_tracing": (
            ("ptrace", (16, _NONE, 0, 0)),  # PTRACE_ATTACH
            ("process_vm_readv", (_NONE, 0, 1, 0, 1, 0)),
            ("process_vm_writev", (_NONE, 0, 1, 0, 1, 0)),
            ("pidfd_getfd", (_NONE, 0, 0)),
        ),
        "no_io_uring": (
            ("io_uring_setup", (0, 0)),
            ("io_uring_enter", (_NONE, 0, 0, 0, 0, 0)),
            ("io_uring_register", (_NONE, 0, 0, 0)),
        ),
        "no_calls_on_others": _calls_on_others(),
        "no_file_attributes": (
            ("fchmod", (_NONE, 0)),
            ("fchmodat", (_NONE, 0, 0)),
            ("fchown", (_NONE, 0, 0)),
            ("fchownat", (_NONE, 0, 0, 0, 0)),
            ("utimensat", (_NONE, 0, 0, 0)),
            ("fsetxattr", (_NONE, 0, 0, 0, 0)),
            ("fremovexattr", (_NONE, 0)),
            ("ioctl", (_NONE, _FS_IOC_SETFLAGS, 0)),
        ),
        "no_lasting_flags": (
            ("fcntl", (_NONE, _F_SETFL, os.O_APPEND)),
            ("setsockopt", (_NONE, _SOL_SOCKET, _SO_LOCK_FILTER, 0, 4)),
        ),
        "not_shown": (
            ("prctl", (_PR_SET_MM, _PR_SET_MM_MAP_SIZE, 0, 0, 0)),
            ("prctl", (_PR_SET_DUMPABLE, 2, 0, 0, 0)),  # if it is permitted, it sets nothing
        ),
    }
    if not shares_memory(room, fence):
        found["not_shown"] = (
            *found["not_shown"],
            ("flock", (_NONE, _LOCK_SH)),
            ("fcntl", (_NONE, _F_OFD_SETLK, 0)),
            ("sched_setattr", (0, 0, 0)),
            ("ioprio_set", (_IOPRIO_WHO_PROCESS, 0, _NO_CLASS)),
        )
        found["no_shared_memory"] = (
            ("shmget", (0, 0, 0)),
            ("shmat", (-1, 0, 0)),
            ("semget", (0, 0, 0)),
            ("msgget", (1, 0)),
            ("mq_open", (0, 0, 0, 0)),
        )
    if not makes_processes(room, fence):
        found["no_processes"] = (
            *(("clone", (_CLONE_SIGHAND, 0, 0, 0, 0)), ("clone3", (0, 0))),
            *(("execve", (0, 0, 0)), ("execveat", (_NONE, 0, 0, 0, 0))),
        )
    if not makes_namespaces(room, fence):
        found["no_namespaces"] = (("unshare", (0,)), ("setns", (_NONE, 0)), ("clone3", (0, 0)))
    families = families_of(room, fence, network=network)
    if not families:
        names = ("connect", "bind", "listen", *(() if room == "page" else ("accept", "accept4")))
        rest = ((name, (_NONE, 0, 0, 0)) for name in names)
        found["no_network"] = (("socket", (AF_INET, _SOCK_DGRAM, 0)), ("socketpair", (0, 0, 0, 0)), *rest)
    elif AF_INET not in families:
        found["no_network"] = (("socket", (AF_INET, _SOCK_DGRAM, 0)),)
    elif network or room in ("publisher", "resolver"):
        found["no_other_protocols"] = (
            ("socket", (AF_INET, _SOCK_STREAM, _MPTCP)),
            ("sendto", (_NONE, 0, 0, _MSG_FASTOPEN, 0, 0)),
            ("sendmsg", (_NONE, 0, _MSG_FASTOPEN)),
            ("sendmmsg", (_NONE, 0, 0, _MSG_FASTOPEN)),
            *(() if fence.listens else (("listen", (_NONE, 0)), ("accept4", (_NONE, 0, 0, 0)))),
            *(() if binds(room, fence) else (("bind", (_NONE, 0, 0)),)),
            *(() if fence.datagrams or starts_programs(room, fence) else (("socket", (AF_INET, _SOCK_DGRAM, 0)),)),
        )
    if AF_UNIX not in families:
        found["no_unix_sockets"] = (
            *(("socket", (AF_UNIX, kind, 0)) for kind in (_SOCK_STREAM, _SOCK_DGRAM)),
            ("socketpair", (AF_UNIX, _SOCK_DGRAM, 0, 0)),
        )
    if room == "publisher":
        found["no_camera"] = (("ioctl", (_NONE, _QUERYCAP, 0)),)
        found["no_microphone"] = (("ioctl", (_NONE, _PCM_INFO, 0)),)
    return found


def _calls_on_others() -> Iterator[_Call]:
    """Yield each call on another process. If it is permitted, it only reads, sets the current value again, or fails."""
    for pid in _others():
        yield "prlimit64", (pid, resource.RLIMIT_CORE, 0, 0)
        yield "setpriority", (os.PRIO_PROCESS, pid, _priority(pid))
        yield "sched_setaffinity", (pid, 0, 0)
        yield "sched_setscheduler", (pid, -1, 0)
        yield "sched_setparam", (pid, 0)
        yield "sched_setattr", (pid, 0, 0)
        yield "ioprio_set", (_IOPRIO_WHO_PROCESS, pid, _NO_CLASS)
        yield "get_robust_list", (pid, 0, 0)
        yield "migrate_pages", (pid, 0, 0, 0)
        yield "move_pages", (pid, 0, 0, 0, 0, 0)
        yield "kcmp", (pid, pid, 0, 0, 0)
        yield "perf_event_open", (0, pid, -1, -1, 0)
        yield "prctl", (_PR_SCHED_CORE, 0, pid, 0, 0)
    for group in (os.PRIO_PGRP, os.PRIO_USER):
        yield "setpriority", (group, _NONE, 0)
    for group in _IOPRIO_GROUPS:
        yield "ioprio_set", (group, _NONE, _NO_CLASS)
    yield "process_madvise", (_NONE, 0, 0, 0, 0)
    yield "process_mrelease", (_NONE, 0)


def _others() -> Iterator[int]:
    """Yield the pid of the parent and an unused pid.

    The kernel itself may protect the parent, so a refused call on the parent alone proves no rule. The first process of
    a pid namespace has no parent. Its parent's pid, 0, would mean the caller, so 0 is not used.
    """
    yield from filter(None, (os.getppid(), _NONE))


def _priority(pid: int) -> int:
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except OSError:
        return 0


def _signal_calls() -> Iterator[_Call]:
    """Yield each way to signal another process, with the null signal 0."""
    for pid in _others():
        yield "kill", (pid, 0)
        yield "tkill", (pid, 0)
        yield "tgkill", (pid, pid, 0)
        yield "rt_sigqueueinfo", (pid, 0, 0)
        yield "rt_tgsigqueueinfo", (pid, pid, 0, 0)
        yield "pidfd_open", (pid, 0)
        yield "fcntl", (_NONE, _F_SETOWN, pid)
    yield "kill", (0, 0)  # the caller's process group
    yield "kill", (-1, 0)  # all processes
    yield "pidfd_send_signal", (_NONE, 0, 0, 0)
    yield "ioctl", (_NONE, _FIOSETOWN, 0)


def _all_refused(calls: Iterable[_Call]) -> str:
    machine = kernel.machine()
    if machine is None:
        return "unavailable: there is no table of system calls for this processor"
    tried = [(name, not _refused(machine, name, arguments)) for name, arguments in calls]
    open_calls = {name for name, passed in tried if passed}
    named = [name for name in dict.fromkeys(name for name, _ in tried) if name in open_calls]  # in a fixed order
    return _state(not open_calls, f"the kernel lets through {', '.join(named)}")


def _refused(machine: kernel.Machine, name: str, arguments: tuple[int, ...]) -> bool:
    """Return whether the call is refused or unknown to this kernel; both are equivalent."""
    try:
        result = kernel.call(machine.numbers[name], *arguments)
    except OSError as error:
        return error.errno in (errno.EPERM, errno.ENOSYS)
    if name in _MAKE_FILES:
        os.close(result)
    return False


def _capabilities() -> str:
    left = privileges.capabilities()
    if left == privileges.READ_SEARCH:
        return f"{ENFORCED} but for CAP_DAC_READ_SEARCH"
    return _state(not left, f"{left:#x} is left")


def _state(holds: bool, otherwise: str) -> str:
    return ENFORCED if holds else f"not enforced: {otherwise}"


def _files(fence: Fence, before: Before) -> str:
    if not before.lists:  # the sandbox of the parent process may have closed it for writing
        return f"not enforced: it could not be tried, {_LIST} and {_WRITE} were closed before"
    if _writes():
        return "not enforced: the kernel lets it write to files that are not its own"
    if fence.anywhere:
        return f"{ENFORCED} but for reading"
    return _state(not _lists(), "the kernel lets it read files that are not its own")


def _no_signals(before: Before) -> str:
    if not before.signals:
        return "not enforced: it could not be tried, the process that started it was out of reach before"
    return "unavailable: the kernel is older than 6.12" if _signals() else ENFORCED


def _ports(allowed: tuple[int, ...]) -> str:
    """Try to connect to a forbidden local port. The kernel refuses this before it looks for a listener.

    The socket does not block: if the unit's ``IPAddressDeny=`` drops the packet, no answer ever arrives.
    """
    machine = kernel.machine()
    assert machine is not None  # otherwise no rule is in force
    other = next(port for port in range(1, 1024) if port not in allowed)
    address = ctypes.create_string_buffer(struct.pack("=HHI8x", AF_INET, (other & 0xFF) << 8 | other >> 8, 0x100007F))
    try:
        file = kernel.call(machine.numbers["socket"], AF_INET, _SOCK_STREAM | _SOCK_NONBLOCK, 0)
    except OSError as error:
        return f"not enforced: it could not be tried, {error.strerror}"
    try:
        kernel.call(machine.numbers["connect"], file, ctypes.addressof(address), 16)
    except OSError as error:
        if error.errno == errno.EACCES:
            return f"{ENFORCED} for TCP"
        return "unavailable: the kernel is older than 6.7"
    finally:
        os.close(file)
    return "unavailable: the kernel is older than 6.7"


def _lists() -> bool:
    return _possible(lambda: os.close(os.open(_LIST, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))


def _writes() -> bool:
    return _possible(lambda: os.close(os.open(_WRITE, os.O_WRONLY | os.O_CLOEXEC)))


def _signals() -> bool:
    parent = os.getppid()  # 0: the parent is in another namespace; the number means the caller's process group
    return parent != 0 and _possible(lambda: os.kill(parent, 0))


def _possible(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _in_unit() -> bool:
    return "INVOCATION_ID" in os.environ
