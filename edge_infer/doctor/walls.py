"""The walls between the rooms: locked for real in children, and tried there."""

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
    "configuration": ("config",),
}
"""What the operator reads, and what the script is told."""
_PATIENCE: Final = 30.0
_REMEDY: Final = "use a kernel with seccomp and Landlock, and no container that forbids them"


def sandbox() -> Iterator[Finding]:
    """One line when every wall of every room holds, else one for each room that lacks some."""
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
    """A line for each wall of each room."""
    for room in _ROOMS:
        for wall, text in walls(room).items():
            yield ok(room, f"{wall}: {text}") if text.startswith(ENFORCED) else warn(room, f"{wall}: {text}", _REMEDY)


def walls(room: str) -> dict[str, str]:
    """What the lock of a room says in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *_ROOMS[room]], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        return {"lock": f"failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"}
    found: dict[str, str] = json.loads(done.stdout)
    return found
