"""The walls between the rooms, as the kernel holds them.

`lock` is the first thing that a room does: before numpy, before any input. It needs no root. What it returns was tried
in the locked process, not assumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from edge_infer.sandbox import landlock, memory, namespaces, privileges, seccomp, selftest
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.rules import Room, rules

__all__ = ["Fence", "Room", "lock", "lock_thread"]

_log = logging.getLogger(__name__)
THREAD_ONLY: Final = "not enforced: rooms are merged, so it holds for a thread alone"
_SECOND: Final = frozenset({"network_namespace"})
"""Walls behind another one that holds by itself: where they lack, that is told and no cause for alarm."""


def lock(room: Room, *, network: bool = False, fence: Fence | None = None) -> dict[str, str]:
    """Gives up what ``room`` does not need, for ever and in all threads; says which walls hold.

    ``network`` is for a reader whose source is on the network; ``fence`` is what the room needs beyond the program.
    Each wall has a text: ``enforced`` (perhaps with an exception), ``not enforced: why`` or ``unavailable: why``. A
    wall that the kernel lacks does not stop the room; it is logged.
    """
    fence = fence or Fence()
    before = selftest.look()
    sees_frames = room in ("engine", "reader")
    isolated = _built(namespaces.isolate) if room in ("engine", "probe") else ""
    pinned = _built(memory.pin) if sees_frames else ""
    privileges.forbid_core_dumps()
    privileges.forbid_message_queues()
    # `sudo edge-infer check` has to open models that lie in the state directory of another user, the service.
    privileges.drop_capabilities(privileges.READ_SEARCH if room == "probe" else 0)
    privileges.forbid_new_privileges()
    fenced = _built(lambda: landlock.enclose(fence, abstract=room == "reader"))
    fences = selftest.fences(fence, before, fenced)
    privileges.forbid_dumping()
    filtered = _built(lambda: seccomp.install(rules(room, network=network)))
    walls = {"seccomp": filtered, **selftest.walls(room, network=network), **fences}
    if isolated:
        walls["network_namespace"] = selftest.outside(before, isolated)
    if pinned:
        walls["no_swap"] = pinned
    for wall, text in walls.items():
        if not text.startswith(selftest.ENFORCED):
            _log.log(logging.INFO if wall in _SECOND else logging.WARNING, "the sandbox: %s: %s", wall, text)
    return walls


def lock_thread(room: Room, fence: Fence) -> dict[str, str]:
    """Gives up in this thread, and those that it starts, what ``room`` does not need, for ever; and says its worth.

    In Linux files, calls and capabilities are a thread's own, so a fault in what the room reads or writes meets the
    walls. Memory is not: whoever runs code of their own here can make another thread of the process do it. So a wall
    is ``enforced`` where the whole process has it, and told as missing where this thread alone does.
    """
    before, whole = selftest.look(), selftest.walls(room)  # a thread begins with what its process has
    privileges.drop_capabilities()
    privileges.forbid_new_privileges()
    fenced = _built(lambda: landlock.enclose(fence, abstract=False, thread=True))
    if fenced == selftest.ENFORCED and before.lists and selftest.look().lists:
        fenced = "not enforced: the kernel lets it read files that are not its own"
    filtered = _built(lambda: seccomp.install(rules(room), thread=True))
    mine = {"seccomp": filtered, **selftest.walls(room), "files": fenced, "no_signals": fenced}
    _log.warning("rooms are merged: the %s has the memory and the rights of the supervisor", room)
    return {wall: _worth(text, whole.get(wall, "")) for wall, text in mine.items()}


def _worth(mine: str, whole: str) -> str:
    """What a wall is worth that this thread has, and perhaps its whole process."""
    if whole.startswith(selftest.ENFORCED):
        return whole
    return THREAD_ONLY if mine.startswith(selftest.ENFORCED) else mine


def _built(build: Callable[[], None]) -> str:
    """What became of a wall as it was put up."""
    try:
        build()
    except OSError as error:
        return f"unavailable: {error.strerror}"
    return selftest.ENFORCED
