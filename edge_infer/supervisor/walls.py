"""What the kernel enforces in all rooms together, by wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MAX_TEXT_CHARACTERS: Final = 256
"""What a record may have in one text."""
MAX_NAMES: Final = 3
"""Processes that are named where they agree; of more the first are, and the others are counted."""


def together(rooms: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """One text a wall: the one that holds in every room that has this wall, or which room says what."""
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
