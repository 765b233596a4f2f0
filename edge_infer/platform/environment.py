"""The environment variables of this process, and which of them its children get.

A configuration may name variables, for example for a password. Only the process that reads the configuration needs
them. The processes that run models and sources must not find them in their environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

_HARMLESS: Final = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR"),
        *("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LD_LIBRARY_PATH", "RES_OPTIONS"),
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"),
    }
)
_HARMLESS_PREFIXES: Final = ("LC_", "PYTHON", "OPENCV_", "OMP_", "OPENBLAS_")
_taken: Final[dict[str, str]] = {}
"""Variables that `take` has removed from `os.environ`. Like that, it belongs to the whole process."""


def is_harmless(name: str) -> bool:
    """Return whether a variable has no secret, and may be needed by any process."""
    return name in _HARMLESS or name.startswith(_HARMLESS_PREFIXES)


def take(names: Iterable[str]) -> None:
    """Take these variables out of this process's environment, so that children do not inherit them."""
    for name in names:
        if name in os.environ and not is_harmless(name):
            _taken[name] = os.environ.pop(name)


def variable(name: str, default: str) -> str:
    """Return the value of a variable, also of one that was taken."""
    return os.environ.get(name, _taken.get(name, default))


def with_taken() -> dict[str, str]:
    """Return the environment as it was before `take`."""
    return {**_taken, **os.environ}
