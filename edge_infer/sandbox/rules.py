"""Rules for the system calls that each process may make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.sandbox import allowed_calls
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.syscall_numbers import every_call

Room = Literal["engine", "probe", "reader", "publisher", "resolver", "config", "page"]

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
"""Socket families by number, because the engine may not import ``socket``."""
_SOCKETS: Final = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "setsockopt")
_STREAM, _KINDS = 1, 0xF
"""SOCK_STREAM, and the bits that hold the socket type; the other bits are flags."""
_PROTOCOLS: Final = (0, 6, 17)
"""Permitted protocols: the default of a socket's family and type, TCP and UDP. Landlock does not limit the ports of any
other protocol; MPTCP, SCTP and SMC would reach every port."""
_TCP, _TCP_ULP = 6, 31
"""The level of TCP's options, and the option that gives a TCP socket a further protocol, or SMC in its place."""
_UEVENTS: Final = 15
"""The netlink protocol by which udev and libcamera find devices."""
_MSG_FASTOPEN: Final = 0x20000000
"""With TCP Fast Open the first message connects the socket, but Landlock limits only ``connect``."""
_LISTENING: Final = ("listen", "accept", "accept4")
"""Calls of listening sockets. A socket that listens without a port gets one from the kernel, so the rule for ports does
not apply."""
_ACCEPTING: Final = ("accept", "accept4")
"""The calls among these that the page's process needs, because its listening socket is already open."""
_SIGN: Final = 1 << 31
_TRACING: Final = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")
# io_uring could create sockets and connections without passing any other filter.
_IO_URING: Final = ("io_uring_setup", "io_uring_enter", "io_uring_register")
_ABOUT_OTHERS: Final = ("kcmp", "process_madvise", "process_mrelease", "perf_event_open")
"""Calls that no process here needs, not even for itself."""
_ABOUT_A_PROCESS: Final = (
    *("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "get_robust_list"),
    *("migrate_pages", "move_pages"),
)
"""Calls with a process or thread as first argument. 0 means the caller. The number 0 is the only one known in advance,
because other threads and later programs have numbers of their own."""
_SHOWN: Final = ("flock", "ioprio_set", "sched_setattr", "sched_setparam", "sched_setscheduler")
"""Calls with which a process sets numbers of its own that every user of the box can read, even if ``/proc`` hides the
process from that user."""
_SIGNALS: Final = ("tkill", "pidfd_open", "pidfd_send_signal")
"""Calls that are not needed inside a process; the C library signals its threads with ``tgkill``."""
_SIGNALS_TO: Final = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""Calls with the receiving process as first argument."""
_SOL_SOCKET: Final = 1
_SOCKET_OPTIONS: Final = (2, 6, 7, 8, 9, 15, 20, 21, 66, 67)
"""Permitted socket options: address reuse, broadcasts, buffer sizes, keep-alive, time-outs. All others are refused. For
example, a filter that is attached to a channel and locked would block input for its next user, and a lingering socket
blocks the process that closes it last."""
_SO_LINGER, _SO_LOCK_FILTER = 13, 44
"""Options that are forbidden even for programs. Programs attach filters of their own to the sockets of udev."""
_FILE_COMMANDS: Final = (0, 1, 2, 3, 4, 1030, 1032, 1033, 1034)
"""Commands of ``fcntl`` that copy a descriptor, read or set its flags, seal memory, or read the size of a pipe.

The others affect other processes. Every user of the box can see a lock and its position in the file, which its holder
chooses. A lease delays other processes that open the file. The owner of a descriptor receives signals.
"""
_RECORD_LOCKS: Final = (5, 6, 7, 12, 13, 14)
"""Commands that test, set and wait for a lock. SQLite needs them, so the publisher may lock."""
_F_SETLEASE: Final = 1024
_PROGRAMS: Final = ("execve", "execveat")
"""Starting another program is forbidden: it could show memory to other users as its command line, and other processes
could read its memory."""
_NAMESPACES: Final = ("unshare", "setns")
"""Forbidden, because a process has every capability in a user namespace of its own."""
_CLONE_NEW: Final = 0x20000 | 0x7E000000
"""Flags of ``clone`` that create namespaces."""
_FORKS: Final = ("fork", "vfork")
_CLONE_THREAD: Final = 0x10000
_ATTRIBUTES: Final = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("chown", "fchown", "lchown", "fchownat", "chown32", "fchown32", "lchown32"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("utime", "utimes", "futimesat", "utimensat", "utimensat_time64"),
)
"""Calls that change the access rights, attributes or times of a file. Landlock covers none of them. Without this rule a
process could open files to others that it cannot read itself."""
_SHARED: Final = (
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "semtimedop_time64"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
"""Memory, semaphores and queues of System V and POSIX. These objects have no file, and their creator can admit any
process."""
_WATCHES: Final = ("inotify_add_watch", "fanotify_init", "fanotify_mark")
"""Watches, which Landlock does not limit: a process could see the names of files in a folder that it may not read."""
_F_SETFL: Final = 4
_FLAGS_OF_ALL: Final = 0x400 | 0x2000
"""O_APPEND and O_ASYNC are flags of an open file, not of a process. With O_APPEND, the supervisor could write only at
the end of a file that it shares."""
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_PR_SET_DUMPABLE: Final = 4
# fmt: off
_PRCTL: Final = (
    2, 3, _PR_SET_DUMPABLE, 5, 7, 9, 11, 13, 16, 19, 21, 22, 23, 24, 25, 27, 29, 30, 34, 37, 38, 39, 40, 41, 42, 47,
    50, 51, 52, 53, 54, 55, 56, 63, 64, 66, 0x53564D41,
)
# fmt: on
"""Options of ``prctl`` that read, that affect only the caller, or that reduce its rights. Other options would let it
show memory as its command line, or as a name that other processes read (``PR_SET_MM``, ``PR_SET_NAME``)."""
_PR_SET_PDEATHSIG: Final = 1
"""Sets the signal that a process gets when its parent ends. A process sets this signal before it enters its sandbox.
Only processes that start others may set it later. Any other process could remove it, and so outlive its parent."""
_PRCTL_OF_PROGRAMS: Final = (15, 36)
"""PR_SET_NAME and PR_SET_CHILD_SUBREAPER, for a reader that starts a program of the operator: the program may name its
threads, and become the parent of descendants whose parent has ended."""
_OWNERS: Final = (8, 15)
"""F_SETOWN and F_SETOWN_EX set the process that receives a signal, chosen by F_SETSIG, when a file has input."""
_OWNERS_BY_IOCTL: Final = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP have the same effect."""
_FIOASYNC: Final = 0x5452
"""Sets O_ASYNC."""
_TERMINAL: Final = (0x5412, 0x541C, 0x540A, 0x5410, 0x5414, 0x5423)
"""TIOCSTI and TIOCLINUX insert text into a terminal as if a user had typed it, Ctrl-C included. TCXONC stops the
output of other processes there. TIOCSPGRP, TIOCSWINSZ and TIOCSETD change its foreground process group, its size and
its driver."""
_CONSOLE: Final = (0x4B00, 0x5600)
"""Requests of Linux consoles (``KDSKBMODE``, ``VT_ACTIVATE``) without the lowest byte: they switch off the keyboard or
show another console, also for the time after the process. Requests of cameras have type ``V``, too, but a size."""
_CONSOLE_MASK: Final = 0xFFFFFF00
_TERMINAL_SETTINGS: Final = (
    *(0x5402, 0x5403, 0x5404, 0x5406, 0x5407, 0x5408, 0x540B, 0x540C, 0x541A, 0x5433, 0x5434, 0x5435),
    *(0x402C542B, 0x402C542C, 0x402C542D),
)
"""TCSETS, TCSETA, TCSETX and TCSETS2 with their variants, TIOCEXCL and TIOCSSOFTCAR: the settings of a terminal outlive
the process, for example without Ctrl-C. TCFLSH drops what a user has typed. Readers need these requests for serial
ports."""
_FILE_SYSTEMS: Final = tuple(type_ << 8 for type_ in (*b"fX", 0x94, 0xBC, 0xF5))
"""Types of the requests to file systems. They set attributes of files (``FS_IOC_SETFLAGS``, ``FS_IOC_FSSETXATTR``),
make folders although Landlock forbids them (Btrfs, bcachefs), or keep writes back (F2FS)."""
_FILE_VERSIONS: Final = (0x40087602, 0x40047602, 0x40047211)
"""FS_IOC_SETVERSION of 64 and 32 bits, and FAT_IOCTL_SET_ATTRIBUTES. Accelerators have requests of the same types."""
_REQUESTS: Final = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x8910, 0x8933)
"""Requests of a process that opens no device: TCGETS and TCGETS2 (is it a terminal?), TIOCGWINSZ, FIONREAD (bytes that
wait), FIONBIO, FIONCLEX, FIOCLEX, and the name and number of a network interface (SIOCGIFNAME, SIOCGIFINDEX)."""


_TRIED_IN_VAIN: Final = ("fchmod", "fchown", "fchown32", "prctl")
"""Calls that may fail without harm: files then keep their access rights, SQLite cannot give its files to the owner of
the database, and threads get no names. Look-ups of names try a socket of each family."""


@dataclass(frozen=True, slots=True)
class ArgumentCheck:
    """``call`` fails with EPERM unless argument ``place`` is in ``values``; with ``never``, if it is in ``values``.

    ``when`` is an argument and its value: the condition applies only to calls with that value.

    Only the low 32 bits of the argument are compared, after ``mask``. This is right for `int`, `unsigned int` and
    ``pid_t``, the types of all arguments here: the kernel ignores the higher bits, so the filter does, too.
    """

    call: str
    place: int
    values: tuple[int, ...]
    never: bool = False
    mask: int = 0xFFFFFFFF
    when: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Of the ``allowed`` calls, those that violate one of the ``conditions`` fail with EPERM.

    ``refused`` calls always fail with EPERM. All other calls fail with ENOSYS, as on a kernel without them, so that C
    libraries use another call. No filter can read the flags of ``clone3``, because they are in memory. Where these
    flags matter, ``clone3`` is not allowed, and C libraries use ``clone``, which has the flags in an argument.
    """

    allowed: tuple[str, ...]
    refused: tuple[str, ...] = ()
    conditions: tuple[ArgumentCheck, ...] = ()


def rules(room: Room, fence: Fence, pid: int, *, parent: int = 0, network: bool = False) -> Rules:
    """Return the rules for a process that is about to restrict itself.

    ``room`` is the kind of process and ``pid`` its process number. ``network``: the process reads a network source. A
    process that may signal others must not signal ``parent``. Channels that the process inherits stay usable, because
    the rules do not refuse to send and receive.
    """
    refused = [*_TRACING, *_IO_URING, *_ABOUT_OTHERS, *_ATTRIBUTES, *allowed_calls.NEVER]
    conditions = [*_self_only(), *_requests(room, fence)]
    conditions += _file_commands(room, fence)
    conditions.append(ArgumentCheck("prctl", 0, _prctl_options(room, fence)))
    conditions.append(ArgumentCheck("prctl", 1, (0,), when=(0, _PR_SET_DUMPABLE)))
    if not makes_processes(room, fence):
        refused += _FORKS
        conditions.append(ArgumentCheck("clone", 0, (_CLONE_THREAD,), mask=_CLONE_THREAD))
        refused += _PROGRAMS
    if not makes_namespaces(room, fence):
        refused += _NAMESPACES
        conditions.append(ArgumentCheck("clone", 0, (0,), mask=_CLONE_NEW))
    if not starts_programs(room, fence):
        refused += (*_WATCHES, *allowed_calls.MOUNTS)
    if not shares_memory(room, fence):
        refused += (*_SHARED, *_SHOWN)
        # Channels outlive the process. If the process could shut them down, they would be closed for its successor.
        refused.append("shutdown")
        refused += allowed_calls.LINKS
    if not makes_files(room, fence):
        refused += allowed_calls.MAKES_FILES
    if room in ("engine", "probe"):
        # Channels are written with `write`. Open files that are sent burden the receiver until it closes them.
        refused += allowed_calls.SENDS
    if families := families_of(room, fence, network=network):
        conditions.append(ArgumentCheck("socket", 0, families))
        if network or room in ("publisher", "resolver"):
            conditions += _only_tcp_and_udp(families)
            if not fence.datagrams and not starts_programs(room, fence):
                conditions.append(ArgumentCheck("socket", 1, (_STREAM,), mask=_KINDS))
            refused += () if fence.listens else _LISTENING
            refused += () if binds(room, fence) else ("bind",)
        # One end of a pair of datagram sockets can send to any socket of the file system.
        conditions.append(ArgumentCheck("socketpair", 0, tuple(each for each in families if each == AF_UNIX)))
        conditions.extend(_socket_options(strict=not makes_processes(room, fence)))
        if AF_NETLINK in families:
            conditions.append(ArgumentCheck("socket", 2, (0, _UEVENTS), when=(0, AF_NETLINK)))
    elif room == "config":
        refused += (each for each in _SOCKETS if each != "socketpair")
        # The children get such pairs. Unlike a pair of datagram sockets, a pair of stream sockets reaches no other
        # socket.
        conditions += [
            ArgumentCheck("socketpair", 0, (AF_UNIX,)),
            ArgumentCheck("socketpair", 1, (_STREAM,), mask=_KINDS),
        ]
    else:
        refused += (each for each in _SOCKETS if room != "page" or each not in _ACCEPTING)
    if not starts_programs(room, fence):
        refused += _SIGNALS
        conditions += _signals_to_children(parent) if room == "config" else _own_signals(pid)
    return Rules(_allowed(room, fence), tuple(refused), tuple(conditions))


def logged(room: Room, fence: Fence, complete: Rules) -> Rules:
    """Return the rules for the filter whose refusals the kernel logs, for a process with the filter ``complete``.

    This filter also allows calls that well-behaved libraries try and can do without. A process that makes no other
    processes can then install no further filter.
    """
    quiet = (*_TRIED_IN_VAIN, "clone3")
    locks = () if makes_processes(room, fence) else allowed_calls.LOCKS_ITSELF
    return Rules(
        tuple(call for call in (*complete.allowed, *quiet) if call not in locks),
        tuple(call for call in (*complete.refused, *locks) if call not in quiet),
        tuple(each for each in complete.conditions if each.call not in (*_TRIED_IN_VAIN, "socket")),
    )


def _prctl_options(room: Room, fence: Fence) -> tuple[int, ...]:
    end_of_parent = (_PR_SET_PDEATHSIG,) if makes_processes(room, fence) else ()
    of_programs = _PRCTL_OF_PROGRAMS if starts_programs(room, fence) else ()
    return (*_PRCTL, *end_of_parent, *of_programs)


def _allowed(room: Room, fence: Fence) -> tuple[str, ...]:
    """Return the calls that a process may make unless the rules refuse them."""
    if shares_memory(room, fence):  # a program of the operator, or a library that starts programs: it may need any call
        return tuple(call for call in every_call() if call != "clone3" or makes_namespaces(room, fence))
    allowed = [*allowed_calls.EVERY_PROCESS, *allowed_calls.LOCKS_ITSELF]
    if room in ("reader", "publisher", "resolver", "config", "page"):
        allowed += (*allowed_calls.SENDS, *allowed_calls.CONNECTS)
    if room in ("reader", "publisher", "page"):
        allowed += allowed_calls.LISTENS
    if makes_files(room, fence):
        allowed += allowed_calls.MAKES_FILES
    if room == "publisher":
        allowed += allowed_calls.READS_CLOCK
    if makes_processes(room, fence):
        allowed += allowed_calls.STARTS_PROCESSES
    return tuple(allowed)


def families_of(room: Room, fence: Fence, *, network: bool) -> tuple[int, ...]:
    """Return the families of sockets that a process may make."""
    if room in ("engine", "probe", "config"):
        return ()
    internet = (AF_INET, AF_INET6) if (network or room in ("publisher", "resolver")) and fence.ports != () else ()
    # libcamera finds its devices by netlink.
    return (*((AF_UNIX,) if fence.unix else ()), *((AF_NETLINK,) if starts_programs(room, fence) else ()), *internet)


def starts_programs(room: Room, fence: Fence) -> bool:
    """Return whether a process runs the operator's programs, which it must be able to end.

    The pids of programs are not known in advance, so a filter cannot distinguish them from others. Landlock limits the
    signals instead.
    """
    return room == "reader" and fence.anywhere


def makes_processes(room: Room, fence: Fence) -> bool:
    """Return whether a process may start others: programs, a sound service that a library starts, or models on trial.

    Other processes may not, because a child would keep the inherited files, including channels, and could outlive its
    parent.
    """
    return room == "config" or shares_memory(room, fence)


def makes_files(room: Room, fence: Fence) -> bool:
    """Return whether a process may create, rename and remove files: its outbox, models, or a command's pictures."""
    ours = (path for path in fence.writes if not path.startswith(("/dev/", "/sys/")))
    return room in ("config", "publisher") or shares_memory(room, fence) or (room == "engine" and any(ours))


def opens_devices(room: Room, fence: Fence) -> bool:
    """Return whether a process may open devices, whose requests are not known here.

    Cameras and serial ports have readers, and delegates open accelerators. The filter of ``config`` also holds for the
    trial of a delegate, which it starts.
    """
    return room in ("reader", "config") or any(path.startswith("/dev/") for path in fence.writes)


def binds(room: Room, fence: Fence) -> bool:
    """Return whether a process with network access may bind a socket: to receive datagrams, or to wake itself."""
    return room == "reader" and (fence.datagrams or fence.listens or starts_programs(room, fence))


def makes_namespaces(room: Room, fence: Fence) -> bool:
    """Return whether a process may make namespaces: programs may, and trials isolate themselves."""
    return room == "config" or starts_programs(room, fence)


def shares_memory(room: Room, fence: Fence) -> bool:
    """Return whether a process may use memory without a file; programs may, and ALSA's mixing plug-ins need it."""
    return starts_programs(room, fence) or fence.unix == "sound"


def _only_tcp_and_udp(families: tuple[int, ...]) -> list[ArgumentCheck]:
    """Return the checks that forbid protocols for which Landlock has no rules about ports."""
    protocols = (*_PROTOCOLS, *((_UEVENTS,) if AF_NETLINK in families else ()))
    flags = (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3))
    return [
        ArgumentCheck("socket", 2, protocols),
        *(ArgumentCheck(call, place, (0,), mask=_MSG_FASTOPEN) for call, place in flags),
    ]


def _file_commands(room: Room, fence: Fence) -> list[ArgumentCheck]:
    """Return the checks of the commands with which a process may act on an open file."""
    checks = []
    for call in ("fcntl", "fcntl64"):
        if shares_memory(room, fence):
            checks.append(ArgumentCheck(call, 1, (_F_SETLEASE,), never=True))
        else:
            checks.append(ArgumentCheck(call, 1, (*_FILE_COMMANDS, *(_RECORD_LOCKS if room == "publisher" else ()))))
        checks.append(ArgumentCheck(call, 2, (0,), mask=_FLAGS_OF_ALL, when=(1, _F_SETFL)))
    return checks


def _self_only() -> list[ArgumentCheck]:
    """Return the checks that forbid changes to limits, priorities, processors and pages of other processes.

    The caller may change its own.
    """
    return [
        *(ArgumentCheck(call, 0, (0,)) for call in _ABOUT_A_PROCESS),
        *(ArgumentCheck("setpriority", 0, (_PRIO_PROCESS,)), ArgumentCheck("setpriority", 1, (0,))),
        *(ArgumentCheck("ioprio_set", 0, (_IOPRIO_WHO_PROCESS,)), ArgumentCheck("ioprio_set", 1, (0,))),
    ]


def _requests(room: Room, fence: Fence) -> list[ArgumentCheck]:
    """Return the checks of the requests (``ioctl``) to open files."""
    if not opens_devices(room, fence):
        return [ArgumentCheck("ioctl", 1, _REQUESTS)]
    checks = [
        ArgumentCheck("ioctl", 1, (*_TERMINAL, _FIOASYNC), never=True),
        ArgumentCheck("ioctl", 1, _CONSOLE, never=True, mask=_CONSOLE_MASK),
        ArgumentCheck("ioctl", 1, _FILE_SYSTEMS, never=True, mask=0xFF00),
        ArgumentCheck("ioctl", 1, _FILE_VERSIONS, never=True),
    ]
    if room == "engine":  # a command that runs a model by hand writes to the user's terminal
        checks.append(ArgumentCheck("ioctl", 1, _TERMINAL_SETTINGS, never=True))
    return checks


def _socket_options(*, strict: bool) -> list[ArgumentCheck]:
    """Return the checks for the options of a socket. Of the options of TCP only ``TCP_ULP`` is forbidden."""
    other = ArgumentCheck("setsockopt", 2, (_TCP_ULP,), never=True, when=(1, _TCP))
    if strict:
        return [ArgumentCheck("setsockopt", 2, _SOCKET_OPTIONS, when=(1, _SOL_SOCKET)), other]
    options = (_SO_LINGER, _SO_LOCK_FILTER)
    return [ArgumentCheck("setsockopt", 2, options, never=True, when=(1, _SOL_SOCKET)), other]


def _own_signals(pid: int) -> list[ArgumentCheck]:
    """Return the checks that forbid signals to other processes.

    0 and -1 are not the caller: 0 is its process group, and -1 all processes. A child made by ``fork`` has the parent's
    pid in these checks: it can signal the parent, but not itself.
    """
    return [*(ArgumentCheck(call, 0, (pid,)) for call in _SIGNALS_TO), *_no_owners()]


def _signals_to_children(parent: int) -> list[ArgumentCheck]:
    """Return the checks that forbid signals to the parent, to a process group, and to all processes.

    In these calls, 0 and negative numbers mean a group or all processes. The pids of children are not known in advance.
    Landlock, if it supports signals, excludes all other processes.
    """
    return [
        *(ArgumentCheck(call, 0, (0, parent), never=True) for call in _SIGNALS_TO),
        *(ArgumentCheck(call, 0, (0,), mask=_SIGN) for call in _SIGNALS_TO),
        *_no_owners(),
    ]


def _no_owners() -> list[ArgumentCheck]:
    """Return the checks that forbid the choice of the receiver of signals from an open file (F_SETOWN and others)."""
    return [
        *(ArgumentCheck(call, 1, _OWNERS, never=True) for call in ("fcntl", "fcntl64")),
        ArgumentCheck("ioctl", 1, _OWNERS_BY_IOCTL, never=True),
    ]
