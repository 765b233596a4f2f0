"""Check of the daemon that runs with a configuration, from its own status."""

from __future__ import annotations

from pathlib import Path

from edge_infer.codec import decode
from edge_infer.config.units import rough_duration
from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control import NotRunningError, ask, find_socket
from edge_infer.supervisor.status import Status, headline


def daemon(config: Path) -> Finding:
    """Check whether it runs, serves, and has restarted processes. Call this before root switches to another user."""
    try:
        status = decode(Status, ask(find_socket(config), {"do": "status"}, timeout=10.0))
    except NotRunningError as error:
        text, _, remedy = str(error).partition("; ")
        return warn("daemon", text, remedy or "start it with: edge-infer run")
    except EdgeInferError as error:
        return warn("daemon", str(error), "see its log")
    fact = f"runs for {rough_duration(status.uptime)}, {headline(status)}"
    again = [f"{name} {room.restarts} times" for name, room in status.rooms.items() if room.restarts]
    if again:
        return warn("daemon", f"{fact}; started again: {', '.join(again)}", "its log says why each ended")
    open_walls = [name for name, text in status.walls.items() if "not enforced" in text or "unavailable" in text]
    if open_walls:
        fact += f"; not all of it is behind {', '.join(open_walls)}: edge-infer status --json says why"
    return ok("daemon", fact)
