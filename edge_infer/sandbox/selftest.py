"""Tries, from inside a locked process, what it must not be able to do, and says which walls hold.

Each attempt is made with arguments that can do no harm where the wall is missing: the kernel then fails in another way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.sandbox import kernel, namespaces, privileges
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.rules import AF_INET, Room

ENFORCED: Final = "enforced"
_NONE = 2**31 - 1  # a process id and a file descriptor that nobody has
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_NONBLOCK = 1, 2, 0o4000
_LIST, _WRITE = "/", "/proc/self/comm"
"""A folder that everybody may list, and a file that every process may write to, as long as others may look into it."""
_QUERYCAP: Final = 0x80685600
"""VIDIOC_QUERYCAP, the harmless first question to any camera."""
_PCM_INFO: Final = 0x81204101
"""SNDRV_PCM_IOCTL_INFO, the same of a microphone."""


@dataclass(frozen=True, slots=True)
class Before:
    """What this process could do, and where it was, before it was locked."""

    lists: bool
    writes: bool
    signals: bool
    network: str


def look() -> Before:
    """How things are now."""
    return Before(_lists(), _writes(), _signals(), namespaces.current())


def fences(fence: Fence, before: Before, built: str) -> dict[str, str]:
    """The walls of Landlock: what could be done before must not be possible now. ``built`` is what became of them."""
    if built != ENFORCED:
        names = ("files", "no_signals", *(() if fence.ports is None else ("ports",)))
        return dict.fromkeys(names, built)
    found = {"files": _files(fence, before), "no_signals": _no_signals(before)}
    if fence.ports is not None:
        found["ports"] = _ports(fence.ports)
    return found


def outside(before: Before, built: str) -> str:
    """Whether this process has left the network that it was born into."""
    if built != ENFORCED:
        return f"{built} (the unit forbids it: its sockets are refused all the same)" if _in_unit() else built
    return _state(namespaces.current() != before.network, "it is in the network of the system")


def walls(room: Room, *, network: bool = False) -> dict[str, str]:
    """Each wall of the room, as the kernel holds it now: ``enforced``, or why not."""
    found = {
        "no_new_privileges": _state(not privileges.may_gain_privileges(), "setuid programs still have their effect"),
        "no_capabilities": _capabilities(),
        "no_core_dump": _state(privileges.core_limit() == 0, "the limit of core files is not 0"),
        "not_dumpable": _state(not privileges.dumpable(), "processes of the same user can read its memory"),
    }
    found.update({wall: _all_refused(calls) for wall, calls in _calls(room, network=network).items()})
    return found


def _calls(room: Room, *, network: bool) -> dict[str, dict[str, tuple[int, ...]]]:
    """The calls to try for each wall, with their arguments."""
    found: dict[str, dict[str, tuple[int, ...]]] = {
        "no_tracing": {
            "ptrace": (16, _NONE, 0, 0),  # PTRACE_ATTACH
            "process_vm_readv": (_NONE, 0, 1, 0, 1, 0),
            "process_vm_writev": (_NONE, 0, 1, 0, 1, 0),
            "pidfd_getfd": (_NONE, 0, 0),
        },
        "no_io_uring": {
            "io_uring_setup": (0, 0),
            "io_uring_enter": (_NONE, 0, 0, 0, 0, 0),
            "io_uring_register": (_NONE, 0, 0, 0),
        },
    }
    if room in ("engine", "probe"):
        sockets = dict.fromkeys(("connect", "bind", "listen", "accept", "accept4"), (_NONE, 0, 0, 0))
        found["no_network"] = {"socket": (AF_INET, _SOCK_DGRAM, 0), "socketpair": (0, 0, 0, 0), **sockets}
    elif room == "reader" and not network:
        found["no_network"] = {"socket": (AF_INET, _SOCK_DGRAM, 0)}
    elif room == "publisher":
        found["no_camera"] = {"ioctl": (_NONE, _QUERYCAP, 0)}
        found["no_microphone"] = {"ioctl": (_NONE, _PCM_INFO, 0)}
    return found


def _all_refused(calls: Mapping[str, tuple[int, ...]]) -> str:
    machine = kernel.machine()
    if machine is None:
        return "unavailable: there is no table of system calls for this processor"
    open_calls = [name for name, arguments in calls.items() if not _refused(machine.numbers[name], arguments)]
    return _state(not open_calls, f"the kernel lets through {', '.join(open_calls)}")


def _refused(number: int, arguments: tuple[int, ...]) -> bool:
    """Whether the call is refused, or unknown to this kernel, which is as good."""
    try:
        result = kernel.call(number, *arguments)
    except OSError as error:
        return error.errno in (errno.EPERM, errno.ENOSYS)
    os.close(result)  # only `socket` gets this far, and what it made is not wanted
    return False


def _capabilities() -> str:
    left = privileges.capabilities()
    if left == privileges.READ_SEARCH:
        return f"{ENFORCED} but for CAP_DAC_READ_SEARCH"
    return _state(not left, f"{left:#x} is left")


def _state(holds: bool, otherwise: str) -> str:
    return ENFORCED if holds else f"not enforced: {otherwise}"


def _files(fence: Fence, before: Before) -> str:
    if not (before.lists and before.writes):
        return f"not enforced: it could not be tried, {_LIST} and {_WRITE} were closed before"
    if _writes():
        return "not enforced: the kernel lets it write to files that are not its own"
    if fence.anywhere:
        return f"{ENFORCED} but for reading"
    return _state(not _lists(), "the kernel lets it read files that are not its own")


def _no_signals(before: Before) -> str:
    if not before.signals:
        return f"{ENFORCED} (the process that started it is out of reach)"
    return "unavailable: the kernel is older than 6.12" if _signals() else ENFORCED


def _ports(allowed: tuple[int, ...]) -> str:
    """Tries a port of this box that is none of them: the kernel refuses before it looks who listens.

    Without waiting: where the unit's ``IPAddressDeny=`` swallows the packet, nobody ever answers.
    """
    machine = kernel.machine()
    assert machine is not None  # otherwise there is no fence
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
    return _possible(lambda: os.kill(os.getppid(), 0))


def _possible(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _in_unit() -> bool:
    return "INVOCATION_ID" in os.environ
