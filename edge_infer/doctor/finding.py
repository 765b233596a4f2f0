"""A finding of the examination: one fact, its severity, and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. With ``fail`` the daemon cannot work here; with ``warn`` it works worse than it could.

    Both levels have a remedy.
    """

    level: Level
    what: str
    fact: str
    remedy: str = ""

    def __str__(self) -> str:
        """``level  what: fact; remedy``."""
        return f"{self.level:<5} {self.what}: {self.fact}{'; ' + self.remedy if self.remedy else ''}"


def ok(what: str, fact: str) -> Finding:
    """Return a finding that all is well, or that only informs."""
    return Finding("ok", what, fact)


def warn(what: str, fact: str, remedy: str) -> Finding:
    """Return a finding that the daemon works, but worse than it could."""
    return Finding("warn", what, fact, remedy)


def fail(what: str, fact: str, remedy: str) -> Finding:
    """Return a finding that the daemon cannot work."""
    return Finding("fail", what, fact, remedy)
