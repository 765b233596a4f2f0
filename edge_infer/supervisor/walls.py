"""What the kernel enforces in all rooms together, by wall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LONGEST: Final = 500


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
    return "; ".join(f"{', '.join(rooms)}: {text}" for text, rooms in by_text.items())[:LONGEST]
