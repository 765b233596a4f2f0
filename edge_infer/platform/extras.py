"""Optional parts of edge-infer, which pip calls extras: the command that installs one."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """Return the command that installs an extra into the environment of the running program.

    A bare ``pip`` is that of the system, which Debian forbids to install anything, or that of another environment.
    """
    if sys.prefix == sys.base_prefix:
        return f"{shlex.quote(sys.executable)} -m pip install 'edge-infer[{extra}]'"
    sudo = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{sudo}{shlex.quote(str(Path(sys.prefix, 'bin', 'pip')))} install 'edge-infer[{extra}]'"
