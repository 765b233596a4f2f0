"""Where things lie by default; importable by every room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DEFAULT_CONFIG: Final = Path("/etc/edge-infer/config.yaml")


def default_state_dir() -> Path:
    """``$STATE_DIRECTORY`` of the unit, for root the system's place, else the user's own."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/edge-infer")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edge-infer"
