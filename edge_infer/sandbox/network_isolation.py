"""Network isolation of a process that needs no network: in its namespace not even the loopback interface is active."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel, privileges

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_OWN: Final = "/proc/self/ns/net"


def current() -> str:
    """Return the name of this process's network namespace; empty if the kernel has none."""
    try:
        return os.readlink(_OWN)  # noqa: PTH115 - a link that names no file
    except OSError:
        return ""


def isolate(*, dumpable: bool) -> None:
    """Enter a network namespace without interfaces; raises `OSError` if the kernel or the unit forbids this.

    Call it before any thread starts and before capabilities are dropped. If the process lacks the privilege, it also
    enters a user namespace of its own. Its access to files and its user do not change.

    A process that is not ``dumpable`` cannot give its user a number in that namespace, and stays closed to other
    processes.
    """
    machine = kernel.machine()
    if machine is None:
        raise OSError(38, "there is no table of system calls for this processor")
    try:
        kernel.call(machine.numbers["unshare"], _NEWNET)
    except PermissionError:
        if privileges.capabilities() & privileges.READ_SEARCH:  # this has no effect on files in such a namespace
            raise
        user, group = os.geteuid(), os.getegid()
        kernel.call(machine.numbers["unshare"], _NEWUSER | _NEWNET)
        # If the parent's sandbox forbids these writes, the process keeps its user, which then has no number inside the
        # namespace.
        with privileges.shown(dumpable), suppress(PermissionError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
