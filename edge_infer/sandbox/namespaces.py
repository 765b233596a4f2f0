"""A network of its own for a process that needs none: not even a loopback interface that is up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel, privileges

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_OWN: Final = "/proc/self/ns/net"


def current() -> str:
    """The name of the network namespace that this process is in; empty where the kernel has none."""
    try:
        return os.readlink(_OWN)  # noqa: PTH115 - it names no file
    except OSError:
        return ""


def isolate() -> None:
    """Leaves the network; raises `OSError` when the kernel or the unit does not allow it.

    Before any thread, and before capabilities are dropped. Without the power to do so it first becomes root of a user
    namespace in which only itself exists; its files and its user stay what they were.
    """
    machine = kernel.machine()
    if machine is None:
        raise OSError(38, "there is no table of system calls for this processor")
    try:
        kernel.call(machine.numbers["unshare"], _NEWNET)
    except PermissionError:
        if privileges.capabilities() & privileges.READ_SEARCH:  # it would not hold for files in such a namespace
            raise
        user, group = os.geteuid(), os.getegid()
        kernel.call(machine.numbers["unshare"], _NEWUSER | _NEWNET)
        # Whose parent has shut it out of writing there keeps its user as well, which has no number inside then.
        with suppress(PermissionError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
