"""Child processes: the command that starts one, its priority, the signals that it ignores, its exit status in words."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

# Builds the command for a child process of this program, safe from modules in the working directory.

_STARTER: Final = (
    "import sys; del sys.path[0]; import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""``python -P -m MODULE`` for a Python without ``-P``. ``sys`` is built in, so importing it searches no path before the
first entry is removed."""


def own_module(name: str, *words: str, has_safe_path: bool = sys.version_info >= (3, 11)) -> list[str]:
    """Return the command that runs a module of this program.

    Any user may control the working directory, and ``python -m`` searches it first. A command of root keeps the right
    to read all files, and a module from that folder would get this right as well.
    """
    start = ("-P", "-m") if has_safe_path else ("-c", _STARTER)
    return [sys.executable, *start, name, *words]


# Priority of a process for the processor, and for the kernel when memory is short.


def take_lowest() -> None:
    """Let this process run only when no other needs the processor; later threads and child processes inherit this."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


PROGRAMS, READER, ENGINE, PUBLISHER = 800, 600, 400, 200
"""``oom_score_adj`` of the supervisor's children, if the supervisor has 0. The kernel kills the supervisor last.

``PROGRAMS`` is for readers that start programs or run code of others; these programs inherit it. Memfd pages that no
process maps count as memory of no process. Without these values, the kernel would kill the largest processes because of
such pages, and last the process that created them. A step of 200 stands for a fifth of the memory: the kernel kills an
engine before a reader only if the engine uses a fifth more.
"""
_WRITING: Final = 0.1
"""Seconds in which a new child must accept its score."""
_refused: Final[list[int]] = []
"""The id of this process, once a child has not accepted its score in this time. It then waits for no other child."""
_first: Final[list[int]] = []
"""The id of this process, once it is the first choice of the out-of-memory killer."""


def go_first(pid: int | None = None) -> None:
    """Make a process the first choice of the kernel's out-of-memory killer, so that the engine survives.

    The process is this one (its later children inherit the choice) or a child. Call it right after the start of a
    child: until a child has loaded its modules and could do this itself, the kernel would kill the larger engine.
    """
    if _first:  # the child has inherited it; and this process may be in a sandbox that forbids the file
        return
    if pid is None:
        _first.append(os.getpid())
    _write(pid, 1000)


def go_before(pid: int, score: int) -> None:
    """Make the kernel's out-of-memory killer choose a child before this process. Call it right after the child's start.

    The order of different scores also holds if a service manager has given this process a score, below 1000.
    """
    if _first:  # the child has inherited it
        return
    own = 0
    with suppress(OSError, ValueError):
        own = int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))
    _write(pid, own + score * (1000 - max(own, 0)) // 1000)


def _write(pid: int | None, score: int) -> None:
    """Set the score of a process, if the system permits it.

    A parent that is not dumpable may wake up before the kernel has made its new child dumpable. Until then the child's
    files in ``/proc`` belong to root, and with ``hidepid`` (``ProtectProc=`` of the unit) they do not exist.
    """
    deadline = time.monotonic() + _WRITING
    while True:
        try:
            Path(f"/proc/{'self' if pid is None else pid}/oom_score_adj").write_text(str(score), encoding="ascii")
        except (PermissionError, FileNotFoundError):
            if pid is None or _refused:
                return
            if time.monotonic() > deadline:
                _refused.append(os.getpid())
                return
            time.sleep(0.001)
        except OSError:  # a container may mount it read-only; then the kernel's own choice applies
            return
        else:
            return


# Signals of systemd that a child process ignores, so that a unit may send them to all its processes.

_SENT: Final = (signal.SIGTERM, signal.SIGABRT)
"""The signal of a stop, and that of the watchdog."""


def leave_stops_to_supervisor() -> None:
    """Ignore these signals. The supervisor orders the stop; if it ends itself, this process finishes its work and ends.

    Only the main thread may call this. ``abort(3)`` still ends the process.
    """
    for number in _SENT:
        signal.signal(number, signal.SIG_IGN)


# Exit statuses of processes in words; negative statuses are signals.

_WHERE: Final = "see journalctl -k, and MemoryMax= of the service"
PERHAPS_MEMORY: Final = f" (if nobody sent it, the kernel did for lack of memory: {_WHERE})"
FOR_MEMORY: Final = f" (by the kernel, for lack of memory: {_WHERE})"


def death(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def unexpected_death(status: int, *, for_memory: bool | None = None) -> str:
    """Return the status of a process that this program did not kill, with a hint at a lack of memory for SIGKILL.

    ``for_memory`` is whether the kernel killed it for lack of memory; None if that is unknown.
    """
    if status != -signal.SIGKILL or for_memory is False:
        return death(status)
    return death(status) + (FOR_MEMORY if for_memory else PERHAPS_MEMORY)
