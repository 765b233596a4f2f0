"""How a process of our own is started: a module of this program, none from the working directory in its place."""

from __future__ import annotations

import sys
from typing import Final

_STARTER: Final = (
    "import sys; del sys.path[0]; import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""``python -P -m MODULE`` for a Python that has no ``-P``: ``sys`` is built in, so nothing was looked for before."""


def own_module(name: str, *words: str, has_safe_path: bool = sys.version_info >= (3, 11)) -> list[str]:
    """Return the command that runs a module of this program.

    The working directory may be anybody's, and ``python -m`` looks there first. A command of root keeps the power to
    read, so a module from there would have it too.
    """
    start = ("-P", "-m") if has_safe_path else ("-c", _STARTER)
    return [sys.executable, *start, name, *words]
