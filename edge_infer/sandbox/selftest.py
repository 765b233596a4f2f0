"""Tries, from inside a locked process, what it must not be able to do, and says which walls hold.

Each attempt is made with arguments that can do no harm where the wall is missing: the kernel then fails in another way.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from edge_infer.sandbox import kernel, privileges
from edge_infer.sandbox.rules import AF_INET, Room

ENFORCED: Final = "enforced"
_NONE = 2**31 - 1  # a process id and a file descriptor that nobody has
_SOCK_DGRAM = 2
_QUERYCAP: Final = 0x80685600
"""VIDIOC_QUERYCAP, the harmless first question to any camera."""


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
