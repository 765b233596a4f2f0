"""Checks of the sandbox rules of each process: of the running service, and of the processes that live for seconds.

The processes of the service report what they have tested, and the kernel shows their filters from outside. For
processes that do not run now, child processes lock themselves and try. They inherit the limits of this shell or
container, which are not those of the service.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.sandbox.selftest import ENFORCED, TRIED
from edge_infer.supervisor.status import Status

_SCRIPT: Final = """
import json, sys
from edge_infer.sandbox import Fence, lock
room, network = sys.argv[1], len(sys.argv) > 2
ports = (554,) if network else (1883,) if room == "publisher" else (53,) if room == "resolver" else None
fence = Fence(anywhere=True) if room == "config" else Fence(ports=ports, datagrams=room == "resolver")
print(json.dumps(lock(room, network=network, fence=fence)))
"""
_ROOMS: Final = {
    "engine": ("engine",),
    "probe": ("probe",),
    "reader": ("reader",),
    "network reader": ("reader", "network"),
    "publisher": ("publisher",),
    "resolver": ("resolver",),
    "configuration": ("config",),
}
"""Process names for the operator, and the arguments of the script."""
_FOR_SECONDS: Final = ("probe", "configuration")
"""Processes that a running service starts when it needs them."""
_PATIENCE: Final = 30.0
_REMEDY: Final = "use a kernel with seccomp and Landlock, and no container that forbids them"
_UNIT: Final = re.compile(r"/([^/\n]+\.service)$", re.MULTILINE)
"""The unit of a process, in /proc/PID/cgroup."""
_FILTERED: Final = "2"
"""The value of ``Seccomp:`` in /proc for a process with a filter."""


def sandbox(status: Status | None = None, proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Yield one line if every rule of every process is enforced, else one for each process with missing rules.

    What the unit forbids on purpose is no reason for a warning, if the process enforces all other rules.
    """
    found, forbidden = _all(status), forbidden_by_unit(status, proc)
    lacking = {
        room: {wall: text for wall, text in held.items() if not text.startswith(ENFORCED)}
        for room, held in found.items()
    }
    faulty = [room for room, held in lacking.items() if held.keys() - (set() if room in _FOR_SECONDS else forbidden)]
    for room in faulty:
        yield warn("sandbox", f"{room}: {', '.join(map(' '.join, lacking[room].items()))}", _REMEDY)
    if not faulty:
        left = sorted({wall for held in lacking.values() for wall in held})
        but = f"; the unit forbids {', '.join(left)}, for which the others make up" if left else ""
        yield ok("sandbox", f"the kernel holds all walls of {', '.join(found)} ({_where(status)}){but}")


def each_wall(status: Status | None = None, proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Yield a line for each sandbox rule of each process, with what was tried."""
    yield ok("sandbox", _where(status))
    forbidden = forbidden_by_unit(status, proc)
    for room, held in _all(status).items():
        for wall, text in held.items():
            fact = f"{wall}: {text}" + (f" (tried: {TRIED[wall]})" if wall in TRIED else "")
            if text.startswith(ENFORCED):
                yield ok(room, fact)
            elif room not in _FOR_SECONDS and wall in forbidden:
                yield ok(room, f"{fact}; the unit forbids it")
            else:
                yield warn(room, fact, _REMEDY)


def forbidden_by_unit(status: Status | None, proc: Path = Path("/proc")) -> frozenset[str]:
    """Return the rules that the processes of the daemon cannot apply because its systemd unit forbids namespaces."""
    try:
        groups = "" if status is None or status.pid is None else (proc / f"{status.pid}/cgroup").read_text()
    except OSError:
        return frozenset()
    if (unit := _UNIT.search(groups)) is None:
        return frozenset()
    command = ["systemctl", "show", unit[1], "--property=RestrictNamespaces", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    allowed = done.stdout.split()  # "yes", "no", or the kinds of namespaces that are allowed
    return frozenset() if not allowed or allowed == ["no"] or "net" in allowed else frozenset({"network_namespace"})


def _where(status: Status | None) -> str:
    if status is None:
        return "no daemon answers, so this was tried in processes of this shell, whose limits may not be the service's"
    return f"reported by the running processes; {' and '.join(_FOR_SECONDS)} were tried in processes of this shell"


def _all(status: Status | None) -> dict[str, Mapping[str, str]]:
    """Return the rules of each process: as the running ones report them, and as tried here."""
    if status is None:
        return {room: walls(room) for room in _ROOMS}
    running: dict[str, Mapping[str, str]] = {}
    for name, room in status.rooms.items():
        if room.walls:
            running[name] = {**room.walls, **({} if room.pid is None else outside(room.pid))}
    return running | {room: walls(room) for room in _FOR_SECONDS}


def outside(pid: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """Return what the kernel shows about the threads of a process and of its children, as rules named ``seen_*``."""
    threads, unfiltered, children = 0, 0, 0
    todo = [pid]
    while todo:
        each = todo.pop()
        for task in proc.glob(f"{each}/task/*"):
            try:
                fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
                below = [int(word) for word in (task / "children").read_text().split()]
            except (OSError, ValueError):
                continue  # it has ended
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
    """Lock the sandbox of a process in a child, and return the status of each rule."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *_ROOMS[room]], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        return {"lock": f"failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"}
    found: dict[str, str] = json.loads(done.stdout)
    return found
