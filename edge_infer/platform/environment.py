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
_OF_SYSTEMD: Final = frozenset({"INVOCATION_ID", "JOURNAL_STREAM"})
"""Variables that decide in which form a child of the daemon logs, and what it expects of its sandbox."""
_taken: Final[dict[str, str]] = {}
"""Variables that `take` has removed from `os.environ`. Like `os.environ`, this dictionary belongs to the whole
process."""


class _Names:
    """Whether this process knows which variables the configuration names; None before the first reading."""

    known: bool | None = None


_names: Final = _Names()


def is_harmless(name: str) -> bool:
    """Return whether a variable has no secret, and may be needed by any process."""
    return name in _HARMLESS or name.startswith(_HARMLESS_PREFIXES)


def take(names: Iterable[str]) -> None:
    """Take these variables out of this process's environment, so that children do not inherit them.

    ``names`` are all that the configuration names.
    """
    _names.known = True
    for name in names:
        if name in os.environ and not is_harmless(name):
            _taken[name] = os.environ.pop(name)


def names_unknown() -> None:
    """Give children only harmless variables until `take` is called, because the configuration cannot be read.

    Nothing changes after a call of `take`, because the children run the configuration that was read then.
    """
    if _names.known is None:
        _names.known = False


def for_children() -> dict[str, str]:
    """Return the environment for a child that must not find the variables that the configuration names."""
    return dict(os.environ) if _names.known is not False else only_harmless()


def only_harmless() -> dict[str, str]:
    """Return the environment for a child that needs no variable of the user."""
    return {name: value for name, value in os.environ.items() if is_harmless(name) or name in _OF_SYSTEMD}


def variable(name: str, default: str) -> str:
    """Return the value of a variable, also of one that was taken."""
    return os.environ.get(name, _taken.get(name, default))


def with_taken() -> dict[str, str]:
    """Return the environment as it was before `take`."""
    return {**_taken, **os.environ}
