"""The walls between the rooms: locked for real in children, and tried there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Final, get_args

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.sandbox.rules import Room
from edge_infer.sandbox.selftest import ENFORCED

_SCRIPT: Final = "import json, sys; from edge_infer.sandbox import lock; print(json.dumps(lock(sys.argv[1])))"
_PATIENCE: Final = 30.0


def sandbox() -> Iterator[Finding]:
    """One line when every wall of every room holds, else one for each room that lacks some."""
    found = {room: walls(room) for room in get_args(Room)}
    lacking = {
        room: ", ".join(f"{wall} {text}" for wall, text in held.items() if not text.startswith(ENFORCED))
        for room, held in found.items()
    }
    for room, text in lacking.items():
        if text:
            yield warn("sandbox", f"{room}: {text}", "use a kernel with seccomp, and no container that forbids it")
    if not any(lacking.values()):
        yield ok("sandbox", f"the kernel holds all walls of {', '.join(found)}")


def walls(room: str) -> dict[str, str]:
    """What the lock of a room says in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, room], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        return {"lock": f"failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"}
    found: dict[str, str] = json.loads(done.stdout)
    return found
