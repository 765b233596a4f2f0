"""Builds the command for a child process of this program, safe from modules in the working directory."""

from __future__ import annotations

import sys
from typing import Final

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
