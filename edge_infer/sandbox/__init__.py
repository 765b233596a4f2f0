"""The walls between the rooms, as the kernel holds them.

`lock` is the first thing that a room does: before numpy, before any input. It needs no root. What it returns was tried
in the locked process, not assumed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import Final

from edge_infer.sandbox import landlock, memory, namespaces, privileges, seccomp, selftest
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.rules import Room, rules

__all__ = ["Fence", "Room", "lock", "lock_thread"]

_log = logging.getLogger(__name__)
THREAD_ONLY: Final = "not enforced: rooms are merged, so it holds for a thread alone"
MAX_FILES: Final = 512
"""Open files of a locked process: less than half of the supervisor's, see `bound_files`."""
MAX_FILES_OF_CONFIG: Final = 1024
"""It hands many files to those who try models, also where locked processes have as many on their way as they may."""
_SECOND: Final = frozenset({"network_namespace"})
"""Walls behind another one that holds by itself: where they lack, that is told and no cause for alarm."""


def lock(
    room: Room,
    *,
    network: bool = False,
    fence: Fence | None = None,
    keep: int = 0,
    owners: Collection[int] | None = None,
) -> dict[str, str]:
    """Gives up what ``room`` does not need, for ever and in all threads; says which walls hold.

    ``network`` is for a reader whose source is on the network; ``fence`` is what the room needs beyond the program.
    ``keep`` are capabilities to read that stay where the fence names what may be read, and where a configuration is
    read. With ``owners`` the fence follows no link of others (see `landlock.make_rules`). Each wall has a text:
    ``enforced`` (perhaps with an exception), ``not enforced: why`` or ``unavailable: why``. A wall that the kernel
    lacks does not stop the room; it is logged.
    """
    fence = fence or Fence()
    reads_all = room == "config"  # it names files of anybody, and tells nobody what is in them
    keep = 0 if fence.anywhere and not reads_all else keep
    before = selftest.look()
    sees_frames = room in ("engine", "reader")
    ruleset = _rules(fence, abstract=fence.unix in ("sound", "programs"), owners=owners)
    if os.geteuid() != 0:  # a parent may have kept a power for itself, with which no namespace can be had
        privileges.drop_capabilities(keep)
    isolated = _built(namespaces.isolate) if room in ("engine", "probe") else ""
    pinned = _built(memory.pin) if sees_frames else ""
    privileges.forbid_core_dumps()
    privileges.forbid_message_queues()
    privileges.bound_files(MAX_FILES_OF_CONFIG if reads_all else MAX_FILES)
    privileges.drop_capabilities(keep)
    privileges.forbid_new_privileges()
    fenced = _enclosed(ruleset)
    fences = selftest.fences(fence, before, fenced)
    bounded = not fence.anywhere and fences["files"].startswith(selftest.ENFORCED)
    if not bounded and not reads_all:  # nothing bounds what it could read with one
        privileges.drop_all_capabilities()
    privileges.forbid_dumping()
    refused = rules(room, fence, os.getpid(), parent=os.getppid(), network=network)
    filtered = _built(lambda: seccomp.install(refused))
    walls = {"seccomp": filtered, **selftest.walls(room, fence, network=network), **fences}
    walls["no_signals"] = selftest.no_signals(room, fence, fences["no_signals"])
    if isolated:
        walls["network_namespace"] = selftest.outside(before, isolated)
    if pinned:
        walls["no_swap"] = pinned
    for wall, text in walls.items():
        if not text.startswith(selftest.ENFORCED):
            expected = wall in _SECOND or (wall == "no_unix_sockets" and fence.unix)
            _log.log(logging.INFO if expected else logging.WARNING, "the sandbox: %s: %s", wall, text)
    return walls


def lock_thread(room: Room, fence: Fence) -> dict[str, str]:
    """Gives up in this thread, and those that it starts, what ``room`` does not need, for ever; and says its worth.

    In Linux files, calls and capabilities are a thread's own, so a fault in what the room reads or writes meets the
    walls. Memory is not: whoever runs code of their own here can make another thread of the process do it. So a wall
    is ``enforced`` where the whole process has it, and told as missing where this thread alone does.
    """
    before, whole = selftest.look(), selftest.walls(room, fence)  # a thread begins with what its process has
    privileges.drop_capabilities()
    privileges.forbid_new_privileges()
    fenced = _enclosed(_rules(fence, abstract=False), thread=True)
    if fenced == selftest.ENFORCED and before.lists and selftest.look().lists:
        fenced = "not enforced: the kernel lets it read files that are not its own"
    filtered = _built(lambda: seccomp.install(rules(room, fence, os.getpid()), thread=True))
    mine = {"seccomp": filtered, **selftest.walls(room, fence), "files": fenced}
    mine["no_signals"] = selftest.no_signals(room, fence, fenced)
    _log.warning("rooms are merged: the %s has the memory and the rights of the supervisor", room)
    return {wall: _worth(text, whole.get(wall, "")) for wall, text in mine.items()}


def _worth(mine: str, whole: str) -> str:
    """What a wall is worth that this thread has, and perhaps its whole process."""
    if whole.startswith(selftest.ENFORCED):
        return whole
    return THREAD_ONLY if mine.startswith(selftest.ENFORCED) else mine


def _rules(fence: Fence, *, abstract: bool, owners: Collection[int] | None = None) -> int | OSError:
    """The rules of Landlock, or why there are none."""
    try:
        return landlock.make_rules(fence, abstract=abstract, owners=owners)
    except OSError as error:
        return error


def _enclosed(ruleset: int | OSError, *, thread: bool = False) -> str:
    """What became of Landlock."""
    if isinstance(ruleset, OSError):
        return f"unavailable: {ruleset.strerror}"
    try:
        return _built(lambda: landlock.enclose(ruleset, thread=thread))
    finally:
        os.close(ruleset)


def _built(build: Callable[[], None]) -> str:
    """What became of a wall as it was put up."""
    try:
        build()
    except OSError as error:
        return f"unavailable: {error.strerror}"
    return selftest.ENFORCED
