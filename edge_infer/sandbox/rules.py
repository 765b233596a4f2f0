"""Which system calls each process refuses to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.sandbox.fence import Fence

Room = Literal["engine", "probe", "reader", "publisher", "config"]

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
"""Families of sockets, by number: the engine may not import ``socket``."""
_SOCKETS: Final = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "setsockopt")
_STREAM, _KINDS = 1, 0xF
"""SOCK_STREAM, and the bits of the kinds: the others are flags."""
_SIGN: Final = 1 << 31
_TRACING: Final = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")
# io_uring makes sockets and connections past every other filter.
_IO_URING: Final = ("io_uring_setup", "io_uring_enter", "io_uring_register")
_CAPTURE: Final = "V|AU"
"""Types of the requests to cameras (Video4Linux, its media controller) and microphones (ALSA's sound and control)."""
_ABOUT_OTHERS: Final = ("kcmp", "process_madvise", "process_mrelease", "perf_event_open", "lsm_set_self_attr")
"""Calls that nothing here needs, not even about the caller itself."""
_BY_HANDLE: Final = ("name_to_handle_at", "open_by_handle_at")
"""Opens files past every folder, for who kept ``CAP_DAC_READ_SEARCH``."""
_ABOUT_A_PROCESS: Final = (
    *("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "get_robust_list"),
    *("migrate_pages", "move_pages"),
)
"""Calls whose first argument is a process or thread. 0 is the caller, and the only number that is known beforehand:
other threads, and programs that are started later, have numbers of their own."""
_SIGNALS: Final = ("tkill", "pidfd_open", "pidfd_send_signal")
"""Calls that need no target within the process; the C library signals threads with ``tgkill``."""
_SIGNALS_TO: Final = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""Calls whose first argument is the process that gets the signal."""
_SENDS_FILES: Final = ("sendmsg", "sendmmsg")
"""Channels are written with ``write``; open files, which these send, would be the other end's to keep and to close."""
_SOL_SOCKET: Final = 1
_SOCKET_OPTIONS: Final = (2, 6, 7, 8, 9, 15, 20, 21, 66, 67)
"""Addresses used again, broadcasts, sizes of buffers, keep-alive, time-outs. All others are refused: a filter that is
attached to a channel and locked would make its next user deaf, and whoever closes a socket that lingers waits."""
_SO_LINGER, _SO_LOCK_FILTER = 13, 44
"""What programs may not do either; they attach filters of their own to the sockets of udev."""
_F_SETLEASE: Final = 1024
"""Who opens a file that another process has leased waits."""
_FORKS: Final = ("fork", "vfork")
_CLONE_THREAD: Final = 0x10000
_WITH_FLAGS_IN_MEMORY: Final = ("clone3",)
"""No filter sees what ``clone3`` is to make. Without it, C libraries use ``clone``, which says that in an argument."""
_ATTRIBUTES: Final = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("chown", "fchown", "lchown", "fchownat", "chown32", "fchown32", "lchown32"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("utime", "utimes", "futimesat", "utimensat", "utimensat_time64"),
)
"""Calls that change who may do what with a file, or when it changed. Landlock knows none of them: a process could open
to others what it cannot read itself."""
_SHARED: Final = (
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "semtimedop_time64"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
"""Memory, semaphores and queues of System V and POSIX, which have no file and are open to whoever their maker likes."""
_KEYS: Final = ("add_key", "request_key", "keyctl")
_F_SETFL: Final = 4
_FLAGS_OF_ALL: Final = 0x400 | 0x2000
"""O_APPEND and O_ASYNC belong to an open file, not to the process: with the first, the supervisor could write nowhere
else in a file that it shares."""
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_PR_SET_DUMPABLE: Final = 4
# fmt: off
_PRCTL: Final = (
    1, 2, 3, _PR_SET_DUMPABLE, 5, 7, 9, 11, 13, 16, 19, 21, 22, 23, 24, 25, 27, 29, 30, 34, 37, 38, 39, 40, 41, 42, 47,
    50, 51, 52, 53, 54, 55, 56, 63, 64, 66, 0x53564D41,
)
# fmt: on
"""Options of ``prctl`` that read, that concern the caller alone, or that take something away from it. Others make it
show memory as its command line, or a name that others read (``PR_SET_MM``, ``PR_SET_NAME``)."""
_PRCTL_OF_PROGRAMS: Final = (15, 36)
"""Programs name their threads, and may gather their orphans."""
_OWNERS: Final = (8, 15)
"""F_SETOWN and F_SETOWN_EX: who gets a signal, which F_SETSIG chooses, when a file has something to read."""
_OWNERS_BY_IOCTL: Final = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP do the same."""
_FIOASYNC: Final = 0x5452
"""Sets O_ASYNC."""
_TERMINAL: Final = (0x5412, 0x541C, 0x540A, 0x5410, 0x5414, 0x5423)
"""TIOCSTI and TIOCLINUX put words into a terminal as if somebody had typed them, Ctrl-C among them; TCXONC stops what
others write there; TIOCSPGRP, TIOCSWINSZ and TIOCSETD change who has it, its size and its driver."""
_ATTRIBUTES_BY_IOCTL: Final = (ord("f") << 8, ord("X") << 8)
"""Types of the requests that set attributes of files (``FS_IOC_SETFLAGS``, ``FS_IOC_FSSETXATTR``)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``call`` fails with EPERM unless its argument ``place`` is one of ``values``; with ``never``, if it is one.

    ``when`` is an argument and its value: the condition is for calls with that alone.

    Only the low 32 bits of the argument are compared, after ``mask``. That is right for `int`, `unsigned int` and
    ``pid_t``, which all arguments here are: the kernel cuts off what stands above them, so the filter does as well.
    """

    call: str
    place: int
    values: tuple[int, ...]
    never: bool = False
    mask: int = 0xFFFFFFFF
    when: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """``refused`` calls fail with EPERM, and so do those of which one of the ``conditions`` does not hold.

    ``unknown`` calls fail with ENOSYS, as on a kernel without them.
    """

    refused: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    unknown: tuple[str, ...] = ()


def rules(room: Room, fence: Fence, pid: int, *, parent: int = 0, network: bool = False) -> Rules:
    """The rules of ``room``; ``network`` is for a reader whose source is on the network, ``pid`` is the caller's own.

    Channels that a process inherits stay usable: sending and receiving is not refused. ``parent`` is the process that
    must get no signal from a room which may signal others.
    """
    refused = [*_TRACING, *_IO_URING, *_ABOUT_OTHERS, *_BY_HANDLE, *_ATTRIBUTES, *_KEYS]
    conditions = [*_self_only(), Condition("ioctl", 1, (*_TERMINAL, _FIOASYNC), never=True)]
    conditions.append(Condition("ioctl", 1, _ATTRIBUTES_BY_IOCTL, never=True, mask=0xFF00))
    for call in ("fcntl", "fcntl64"):
        conditions.append(Condition(call, 1, (_F_SETLEASE,), never=True))
        conditions.append(Condition(call, 2, (0,), mask=_FLAGS_OF_ALL, when=(1, _F_SETFL)))
    conditions.append(Condition("prctl", 0, (*_PRCTL, *(_PRCTL_OF_PROGRAMS if starts_programs(room, fence) else ()))))
    conditions.append(Condition("prctl", 1, (0,), when=(0, _PR_SET_DUMPABLE)))
    unknown: tuple[str, ...] = ()
    if not makes_processes(room, fence):
        refused += _FORKS
        conditions.append(Condition("clone", 0, (_CLONE_THREAD,), mask=_CLONE_THREAD))
        unknown = _WITH_FLAGS_IN_MEMORY
    if not shares_memory(room, fence):
        refused += _SHARED
        # The channels outlive the process: what it shuts down there would be closed to the one that takes its place.
        refused.append("shutdown")
    if room in ("engine", "probe"):
        refused += _SENDS_FILES
    if families := families_of(room, fence, network=network):
        conditions.append(Condition("socket", 0, families))
        # One end of a pair of datagram sockets can send to any socket of the file system.
        conditions.append(Condition("socketpair", 0, tuple(each for each in families if each == AF_UNIX)))
        conditions.append(_socket_options(strict=not makes_processes(room, fence)))
    elif room == "config":
        refused += (each for each in _SOCKETS if each != "socketpair")
        # To its children. Unlike one of datagrams, such a pair leads nowhere else.
        conditions += [Condition("socketpair", 0, (AF_UNIX,)), Condition("socketpair", 1, (_STREAM,), mask=_KINDS)]
    else:
        refused += _SOCKETS
    if not starts_programs(room, fence):
        refused += _SIGNALS
        conditions += _signals_to_children(parent) if room == "config" else _own_signals(pid)
    if room == "publisher":
        conditions.append(Condition("ioctl", 1, tuple(ord(each) << 8 for each in _CAPTURE), never=True, mask=0xFF00))
    return Rules(tuple(refused), tuple(conditions), unknown)


def families_of(room: Room, fence: Fence, *, network: bool) -> tuple[int, ...]:
    """The families of sockets that a process may make."""
    if room in ("engine", "probe", "config"):
        return ()
    internet = (AF_INET, AF_INET6) if network or room == "publisher" else ()
    # libcamera finds its devices through netlink.
    return (*((AF_UNIX,) if fence.unix else ()), *((AF_NETLINK,) if starts_programs(room, fence) else ()), *internet)


def starts_programs(room: Room, fence: Fence) -> bool:
    """Whether a process runs programs of the operator's, which it has to be able to end.

    Their numbers are not known beforehand, so no filter can tell them from others: that is left to Landlock.
    """
    return room == "reader" and fence.anywhere


def makes_processes(room: Room, fence: Fence) -> bool:
    """Whether a process has others below it: programs, a sound service that a library starts, or models on trial.

    From all others it would take only what it inherits, its channels among it, and outlive it.
    """
    return room == "config" or shares_memory(room, fence)


def shares_memory(room: Room, fence: Fence) -> bool:
    """Whether a process may use memory that has no file: programs may, and ALSA's mixing plug-ins need it."""
    return starts_programs(room, fence) or fence.unix == "sound"


def _self_only() -> list[Condition]:
    """No limits, priorities, processors or pages of another process; the caller's own are as before."""
    return [
        *(Condition(call, 0, (0,)) for call in _ABOUT_A_PROCESS),
        *(Condition("setpriority", 0, (_PRIO_PROCESS,)), Condition("setpriority", 1, (0,))),
        *(Condition("ioprio_set", 0, (_IOPRIO_WHO_PROCESS,)), Condition("ioprio_set", 1, (0,))),
    ]


def _socket_options(*, strict: bool) -> Condition:
    """Which options of a socket may be set, those of its protocol aside."""
    if strict:
        return Condition("setsockopt", 2, _SOCKET_OPTIONS, when=(1, _SOL_SOCKET))
    return Condition("setsockopt", 2, (_SO_LINGER, _SO_LOCK_FILTER), never=True, when=(1, _SOL_SOCKET))


def _own_signals(pid: int) -> list[Condition]:
    """No signal to another process. 0 and -1 are not the caller: they are its process group, and everybody.

    A child made by ``fork`` keeps the number of its parent here: it can signal that one, and not itself.
    """
    return [*(Condition(call, 0, (pid,)) for call in _SIGNALS_TO), *_no_owners()]


def _signals_to_children(parent: int) -> list[Condition]:
    """No signal to the parent, to a group of processes, or to everybody, which are 0 and what is negative.

    The numbers of children are not known beforehand: Landlock, where it knows signals, keeps all others out.
    """
    return [
        *(Condition(call, 0, (0, parent), never=True) for call in _SIGNALS_TO),
        *(Condition(call, 0, (0,), mask=_SIGN) for call in _SIGNALS_TO),
        *_no_owners(),
    ]


def _no_owners() -> list[Condition]:
    """No signal to whom an open file is given."""
    return [
        *(Condition(call, 1, _OWNERS, never=True) for call in ("fcntl", "fcntl64")),
        Condition("ioctl", 1, _OWNERS_BY_IOCTL, never=True),
    ]
