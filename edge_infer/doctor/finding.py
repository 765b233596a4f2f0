"""What an examination found: one fact, how good it is, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``fail`` keeps the daemon from working here, ``warn`` makes it worse than it could be; both have a remedy."""

    level: Level
    what: str
    fact: str
    remedy: str = ""

    def __str__(self) -> str:
        """``level  what: fact; remedy``."""
        return f"{self.level:<5} {self.what}: {self.fact}{'; ' + self.remedy if self.remedy else ''}"


def ok(what: str, fact: str) -> Finding:
    """All is well, or there is just something to know."""
    return Finding("ok", what, fact)


def warn(what: str, fact: str, remedy: str) -> Finding:
    """It works, but worse than it could."""
    return Finding("warn", what, fact, remedy)


def fail(what: str, fact: str, remedy: str) -> Finding:
    """The daemon cannot do its work."""
    return Finding("fail", what, fact, remedy)
