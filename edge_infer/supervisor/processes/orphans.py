"""Orphans: descendants that have outlived their parents. The daemon, not the init process, becomes their parent."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.platform.closing import Closing
from edge_infer.sandbox import kernel, privileges
from edge_infer.supervisor.control.peer import birth

log = logging.getLogger(__name__)

_SET_CHILD_SUBREAPER: Final = 36
MOST_ENDS: Final = 64
"""Number of ended orphans that are reaped before other work continues."""
LAST_WAIT: Final = 1.0
"""Seconds to wait for the end of killed orphans."""
MAX_NAMED: Final = 10
"""Maximum number of processes that a log line names."""


class Orphans(Closing):
    """Adopts and reaps orphans. Create it before the first child, because earlier orphans get another parent."""

    def __init__(self) -> None:
        kernel.prctl(_SET_CHILD_SUBREAPER, 1)
        self._others = _children()  # children of an earlier program in this process, which are not ours

    def reap(self, own: Collection[int]) -> None:
        """Reap ended orphans, which are zombies until then. Do not reap ``own`` children.

        An own child that has ended blocks the orphans after it, until its owner has collected its status.
        """
        for _ in range(MOST_ENDS):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)
            log.debug("orphan %d has ended", ended.si_pid)

    def close(self) -> None:
        """Kill the remaining orphans.

        Otherwise the next daemon takes them for processes of a user. May be called twice.
        """
        _end(lambda: _children() - self._others)


def end_left_by_config(own: Collection[int]) -> None:
    """Kill the processes that earlier readings of the configuration have left, except the ``own`` children.

    A configured file may have compromised such a process, which could then act during later readings and while folders
    are tidied.
    """
    _end(lambda: {pid for pid in _children() - set(own) if privileges.marked(pid)})


def _end(find: Callable[[], set[int]]) -> None:
    """Kill and reap the processes that ``find`` returns, and those that they start in the meantime."""
    deadline = time.monotonic() + LAST_WAIT
    while left := find():
        if time.monotonic() > deadline:
            log.error(
                "cannot kill %d left-over child processes: pid %s",
                len(left),
                " ".join(map(str, sorted(left)[:MAX_NAMED])),
            )
            return
        _stop_all(left, find)
        for pid in find():
            _signal(pid, signal.SIGKILL)
        time.sleep(0.01)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _stop_all(left: set[int], find: Callable[[], set[int]]) -> None:
    """Stop the processes and those that they start in the meantime.

    A stopped process starts no other and can then be killed.
    """
    stopped: set[int] = set()
    for _ in range(MOST_ENDS):
        for pid in left - stopped:
            _signal(pid, signal.SIGSTOP)
        stopped |= left
        left = find()
        if left <= stopped:
            return


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _children() -> set[int]:
    """Return all children of this process, zombies included.

    Where ``/proc`` is mounted with ``hidepid``, only the lists of this process's threads contain children that are not
    dumpable. Only a kernel with ``CONFIG_PROC_CHILDREN`` has these lists.
    """
    return _listed() | _shown()


def _listed() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended, or the kernel has no lists
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def _shown() -> set[int]:
    own, found = os.getpid(), set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                if birth(int(path.name)).parent == own:
                    found.add(int(path.name))
    return found
