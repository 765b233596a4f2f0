"""Summary of the sandbox rules of all processes, by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MAX_TEXT_CHARACTERS: Final = 256
"""Maximum characters of one text in a record."""
MAX_NAMES: Final = 3
"""Processes named for one text; of more, the rest are counted."""


def together(rooms: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return one text for each rule: the common one of the processes that have the rule, or each one's text."""
    names = dict.fromkeys(wall for walls in rooms.values() for wall in walls)
    return {name: _joined({room: walls[name] for room, walls in rooms.items() if name in walls}) for name in names}


def _joined(texts: Mapping[str, str]) -> str:
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    by_text: dict[str, list[str]] = {}
    for room, text in texts.items():
        by_text.setdefault(text, []).append(room)
    joined = "; ".join(f"{_names(rooms)}: {text}" for text, rooms in by_text.items())
    return joined if len(joined) <= MAX_TEXT_CHARACTERS else f"{joined[: MAX_TEXT_CHARACTERS - 1]}…"


def _names(rooms: Sequence[str]) -> str:
    if len(rooms) <= MAX_NAMES:
        return ", ".join(rooms)
    return f"{', '.join(rooms[: MAX_NAMES - 1])} and {len(rooms) - MAX_NAMES + 1} more"
