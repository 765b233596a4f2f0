"""Checks of the sandbox rules of each process: really locked and tested in child processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.sandbox.selftest import ENFORCED

_SCRIPT: Final = """
import json, sys
from edge_infer.sandbox import Fence, lock
room, network = sys.argv[1], len(sys.argv) > 2
fence = Fence(ports=(554,)) if network else Fence(anywhere=True) if room == "config" else None
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
_PATIENCE: Final = 30.0
_REMEDY: Final = "use a kernel with seccomp and Landlock, and no container that forbids them"


def sandbox() -> Iterator[Finding]:
    """Yield one line if every rule of every process is enforced, else one for each process with missing rules."""
    found = {room: walls(room) for room in _ROOMS}
    lacking = {
        room: ", ".join(f"{wall} {text}" for wall, text in held.items() if not text.startswith(ENFORCED))
        for room, held in found.items()
    }
    for room, text in lacking.items():
        if text:
            yield warn("sandbox", f"{room}: {text}", _REMEDY)
    if not any(lacking.values()):
        yield ok("sandbox", f"the kernel holds all walls of {', '.join(found)}")


def each_wall() -> Iterator[Finding]:
    """Yield a line for each sandbox rule of each process."""
    for room in _ROOMS:
        for wall, text in walls(room).items():
            yield ok(room, f"{wall}: {text}") if text.startswith(ENFORCED) else warn(room, f"{wall}: {text}", _REMEDY)


def walls(room: str) -> dict[str, str]:
    """Lock the sandbox of a process in a child, and return the status of each rule."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *_ROOMS[room]], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        return {"lock": f"failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"}
    found: dict[str, str] = json.loads(done.stdout)
    return found
