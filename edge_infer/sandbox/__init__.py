"""The sandbox of the processes, enforced by the kernel.

`lock` is the first action of each process, before NumPy is imported and before any input. `lock` does not need root. It
tests each rule in the locked process and returns the state of each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final

from edge_infer.sandbox import landlock, network_isolation, privileges, seccomp, selftest
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.rules import Room, Rules, logged, rules, starts_programs

__all__ = ["Fence", "Room", "lock", "lock_thread"]

_log = logging.getLogger(__name__)
THREAD_ONLY: Final = "not enforced: rooms are merged, so it holds for a thread alone"
MAX_FILES: Final = 512
"""Maximum number of open files of a locked process: less than half of the supervisor's limit, see `bound_files`."""
MAX_FILES_OF_FOREIGN_CODE: Final = 192
"""The same limit for code that is not ours and may make Unix sockets. The kernel counts the files in transit for each
user. One such process leaves at most this number in transit, and the files of one more message (253). Others may have
`MAX_FILES` there, so they can still send."""
MAX_FILES_OF_CONFIG: Final = 1024
"""The same limit for the process that reads a configuration. This process sends many files to the processes that try
models, possibly while locked processes have `MAX_FILES` files in transit."""
SPARE_TASKS_OF_CONFIG: Final = 256
"""Number of tasks that the process that reads a configuration may start. An ended task counts until it is reaped.

Without a limit, a process that forks and exits in a loop would evade the signals that are sent to end it.
"""
_SECOND: Final = frozenset({"network_namespace"})
"""Rules that only back up another, sufficient rule. If such a rule is missing, the process logs an info line, not a
warning."""


def lock(
    room: Room,
    *,
    network: bool = False,
    fence: Fence | None = None,
    keep: int = 0,
    owners: Collection[int] | None = None,
) -> dict[str, str]:
    """Give up all rights that the process ``room`` does not need; return the state of each rule.

    The restriction is permanent and holds for all threads.

    ``network``: the process is a reader of a source on the network. ``fence`` lists what the process needs in
    addition to the program itself. ``keep`` are capabilities to read; they stay if the fence limits the readable files,
    and in the process that reads a configuration. With ``owners`` the fence follows no links of other users (see
    `landlock.make_rules`).

    The state of a rule is a text: ``enforced`` (perhaps with an exception), ``not enforced: why`` or ``unavailable:
    why``. A rule that the kernel lacks is logged and does not stop the process.
    """
    fence = fence or Fence()
    reads_all = room == "config"  # a configuration may name files of any user, and the process discloses no content
    keep = 0 if fence.anywhere and not reads_all else keep
    before = selftest.look()
    sees_frames = room in ("engine", "reader")
    ruleset = _rules(fence, abstract=fence.unix in ("sound", "programs"), owners=owners)
    # An additional capability protects the process from other processes of this user. Another protection must be in
    # place before the capability is dropped.
    dumpable = privileges.dumpable()
    privileges.forbid_core_dumps()  # a process that is not dumpable can no longer set this
    privileges.forbid_dumping()
    if os.geteuid() != 0:  # with a capability kept by the parent, no namespace can be made
        privileges.drop_capabilities(keep)
    isolated = _built(lambda: network_isolation.isolate(dumpable=dumpable)) if room in ("engine", "probe") else ""
    pinned = _built(privileges.pin) if sees_frames else ""
    privileges.forbid_message_queues()
    few = MAX_FILES_OF_FOREIGN_CODE if fence.foreign_code else MAX_FILES
    privileges.bound_files(MAX_FILES_OF_CONFIG if reads_all else few)
    if fence.max_file_bytes:
        privileges.bound_file_size(fence.max_file_bytes)
    if reads_all:
        privileges.mark_descendants()
        privileges.bound_processes(SPARE_TASKS_OF_CONFIG)
    privileges.drop_capabilities(keep)
    privileges.forbid_new_privileges()
    fenced = _enclosed(ruleset)
    with privileges.shown(dumpable):
        fences = selftest.fences(fence, before, fenced)
    bounded = not fence.anywhere and fences["files"].startswith(selftest.ENFORCED)
    if not bounded and not reads_all:  # with a capability, nothing limits the readable files
        privileges.drop_all_capabilities()
    permitted = rules(room, fence, os.getpid(), parent=os.getppid(), network=network)
    filtered = _built(lambda: seccomp.install(permitted))
    filtered = selftest.only_known_calls(room, fence, filtered)
    walls = {"seccomp": filtered, **selftest.walls(room, fence, network=network), **fences}
    walls["no_signals"] = selftest.no_signals(room, fence, fences["no_signals"])
    if isolated:
        walls["network_namespace"] = selftest.outside(before, isolated)
    if pinned:
        walls["no_swap"] = pinned
    _log_refusals(room, fence, permitted)
    for wall, text in walls.items():
        if not text.startswith(selftest.ENFORCED):
            expected = wall in _SECOND or (wall == "no_unix_sockets" and fence.unix)
            _log.log(logging.INFO if expected else logging.WARNING, "sandbox rule %s: %s", wall, text)
    return walls


def missing(walls: Mapping[str, str]) -> list[str]:
    """Return the names of the rules that are not enforced, except where the configuration requires an exception."""
    wanted = {THREAD_ONLY, *selftest.exceptions()}
    return [
        wall
        for wall, text in walls.items()
        if not (text.startswith(selftest.ENFORCED) or text in wanted or wall in _SECOND)
    ]


def lock_thread(room: Room, fence: Fence) -> dict[str, str]:
    """Give up, for this thread and its children, all rights that the process does not need; return each rule's state.

    In Linux, file access, system calls and capabilities are limited per thread, so the rules contain faults of this
    thread. But memory is shared: an attacker's code in this thread can use another thread of the process. So a
    rule counts as ``enforced`` only if it holds for the whole process, and as missing if it holds for this thread
    alone.
    """
    before, whole = selftest.look(), selftest.walls(room, fence)  # a thread inherits the rules of its process
    privileges.drop_capabilities()
    privileges.forbid_new_privileges()
    fenced = _enclosed(_rules(fence, abstract=False), thread=True)
    if fenced == selftest.ENFORCED and before.lists and selftest.look().lists:
        fenced = "not enforced: the kernel lets it read files that are not its own"
    permitted = rules(room, fence, os.getpid())
    filtered = _built(lambda: seccomp.install(permitted, thread=True))
    filtered = selftest.only_known_calls(room, fence, filtered)
    mine = {"seccomp": filtered, **selftest.walls(room, fence), "files": fenced}
    mine["no_signals"] = selftest.no_signals(room, fence, fenced)
    _log_refusals(room, fence, permitted, thread=True)
    _log.warning(
        "rooms: merged: the %s is a thread of the supervisor, so it can reach the supervisor's memory and has its "
        "rights",
        room,
    )
    return {wall: _worth(text, whole.get(wall, "")) for wall, text in mine.items()}


def _log_refusals(room: Room, fence: Fence, permitted: Rules, *, thread: bool = False) -> None:
    """Let the kernel log refused calls from now on; before, the self-test made such calls on purpose.

    The logging needs a second filter, which refuses the same calls. For a process that may start other programs the
    kernel logs nothing, because many programs try calls that they can do without.
    """
    if not starts_programs(room, fence):
        with suppress(OSError):  # a kernel before 4.14
            seccomp.install(logged(room, fence, permitted), thread=thread, log=True)


def _worth(mine: str, whole: str) -> str:
    """Return the state of a rule, given its state in this thread and in the whole process."""
    if whole.startswith(selftest.ENFORCED):
        return whole
    return THREAD_ONLY if mine.startswith(selftest.ENFORCED) else mine


def _rules(fence: Fence, *, abstract: bool, owners: Collection[int] | None = None) -> int | OSError:
    """Return the Landlock rules, or the error that prevents them."""
    try:
        return landlock.make_rules(fence, abstract=abstract, owners=owners)
    except OSError as error:
        return error


def _enclosed(ruleset: int | OSError, *, thread: bool = False) -> str:
    """Enforce the Landlock rules and return the resulting state."""
    if isinstance(ruleset, OSError):
        return f"unavailable: {ruleset.strerror}"
    try:
        return _built(lambda: landlock.enclose(ruleset, thread=thread))
    finally:
        os.close(ruleset)


def _built(build: Callable[[], None]) -> str:
    """Enforce a rule with ``build`` and return the resulting state."""
    try:
        build()
    except OSError as error:
        return f"unavailable: {error.strerror}"
    return selftest.ENFORCED
