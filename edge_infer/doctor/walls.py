"""Checks of the sandbox rules of each process: of the running service, and of the processes that live for seconds.

The processes of the service report what they have tested, and the kernel shows their filters from outside. For
processes that do not run now, child processes enter the same sandbox and test it. They inherit the limits of this shell
or container, which may differ from those of the service.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json
from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.errors import WireError
from edge_infer.platform.child_process import own_module
from edge_infer.sandbox.selftest import ENFORCED, FORBIDDEN_BY_UNIT, TRIED, exceptions
from edge_infer.supervisor.status import Status

_ROOMS: Final = {
    "engine": ("engine",),
    "probe": ("probe",),
    "reader": ("reader",),
    "network reader": ("reader", "network"),
    "publisher": ("publisher",),
    "resolver": ("resolver",),
    "configuration": ("config",),
}
"""Names of processes for the operator, and the arguments of `edge_infer.doctor.walls_main` for each."""
_FOR_SECONDS: Final = ("probe", "configuration")
"""Processes that a running service starts only when it needs them."""
_PATIENCE: Final = 30.0
_REMEDY: Final = "use a kernel with seccomp and Landlock, outside of containers that forbid them"
_FILTERED: Final = "2"
"""Value of ``Seccomp:`` in /proc for a process with a filter."""


def sandbox(status: Status | None = None) -> Iterator[Finding]:
    """Yield one line if every rule of every process is enforced; otherwise one line per process with missing rules.

    A rule that is open on purpose is no reason for a warning if the process enforces all other rules.
    """
    found = _all(status)
    lacking = {
        room: {wall: text for wall, text in held.items() if not text.startswith(ENFORCED)}
        for room, held in found.items()
    }
    faulty = [room for room, held in lacking.items() if not all(map(is_on_purpose, held.values()))]
    for room in faulty:
        yield warn("sandbox", f"{room}: {', '.join(map(' '.join, lacking[room].items()))}", _REMEDY)
    if not faulty:
        but = "".join(f"; {room}: {' '.join(each)}" for room, held in lacking.items() for each in held.items())
        yield ok(
            "sandbox",
            (
                f"the kernel enforces {'the' if but else 'all'} sandbox rules of {', '.join(found)} "
                f"({_where(status)}){but}"
            ),
        )


def each_wall(status: Status | None = None) -> Iterator[Finding]:
    """Yield a line for each sandbox rule of each process, with a description of the test."""
    yield ok("sandbox", _where(status))
    for room, held in _all(status).items():
        for wall, text in held.items():
            fact = f"{wall}: {text}" + (f" (tried: {TRIED[wall]})" if wall in TRIED else "")
            sound = text.startswith(ENFORCED) or is_on_purpose(text)
            yield ok(room, fact) if sound else warn(room, fact, _REMEDY)


def is_on_purpose(text: str) -> bool:
    """Return whether a rule is open because the unit forbids it, or because the configuration needs an exception."""
    return text.endswith(FORBIDDEN_BY_UNIT) or text in exceptions()


def _where(status: Status | None) -> str:
    if status is None:
        return (
            "doctor could not ask a daemon and tested processes of this shell, with limits that a service may not have"
        )
    return f"reported by the running processes; {' and '.join(_FOR_SECONDS)} were tested in processes of this shell"


def _all(status: Status | None) -> dict[str, Mapping[str, str]]:
    """Return the rules of each process: as running processes report them, or as tested here."""
    if status is None:
        return {room: walls(room) for room in _ROOMS}
    running: dict[str, Mapping[str, str]] = {}
    for name, room in status.rooms.items():
        if room.walls:
            running[name] = {**room.walls, **({} if room.pid is None else outside(room.pid))}
    return running | {room: walls(room) for room in _FOR_SECONDS}


def outside(pid: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """Return the kernel's view of the threads of a process and of its children, as the rule ``seen_from_outside``."""
    threads, unfiltered, children = 0, 0, 0
    todo = [pid]
    while todo:
        each = todo.pop()
        for task in proc.glob(f"{each}/task/*"):
            try:
                fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
                below = [int(word) for word in (task / "children").read_text().split()]
            except (OSError, ValueError):
                continue  # the thread has ended
            threads += 1
            unfiltered += fields.get("Seccomp") != _FILTERED or fields.get("NoNewPrivs") != "1"
            children += len(below)
            todo += below
    if not threads:
        return {"seen_from_outside": "not enforced: it could not be tried, the process is not visible to this user"}
    if unfiltered:
        return {"seen_from_outside": f"not enforced: {unfiltered} of {threads} threads have no filter"}
    count = f"{threads} threads" + (f", {children} of its own processes included" if children else "")
    return {"seen_from_outside": f"{ENFORCED}: {count} have filters and gain no privileges"}


def walls(room: str) -> dict[str, str]:
    """Test the sandbox of a process in a child process, and return the state of each rule."""
    done = subprocess.run(
        own_module("edge_infer.doctor.walls_main", *_ROOMS[room]),
        capture_output=True, text=True, timeout=_PATIENCE, check=False, cwd="/",
        stdin=subprocess.DEVNULL, start_new_session=True,  # the user that root became must not get root's terminal
    )  # fmt: skip
    try:
        return decode_json(dict[str, str], done.stdout.encode())
    except WireError:
        return {"lock": f"failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"}
