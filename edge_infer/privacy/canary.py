"""A pattern that is known again after scaling: eight rows of eight flat grey blocks, made anew for each audit."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

BLOCKS: Final = 8
_LEAST_STEP: Final = 24
"""Grey levels between two neighbours of a row, so that a change of block is a change of value."""


@dataclass(frozen=True, slots=True)
class Canary:
    """``rows`` of grey levels, 0 to 255; all three colours of a pixel have the same, whatever their order."""

    rows: tuple[tuple[int, ...], ...]

    def picture(self, width: int, height: int, channels: int = 1) -> bytes:
        """The pattern as ``height x width x channels`` bytes."""
        lines = []
        for row in self.rows:
            columns = (row[x * BLOCKS // width] for x in range(width))
            lines.append(b"".join(bytes((level,)) * channels for level in columns))
        return b"".join(lines[y * BLOCKS // height] for y in range(height))

    def text(self) -> str:
        """The levels as digits, for a command line."""
        return b"".join(map(bytes, self.rows)).hex()

    @classmethod
    def from_text(cls, text: str) -> Canary:
        """What `text` gave."""
        levels = bytes.fromhex(text)
        return cls(tuple(tuple(levels[at : at + BLOCKS]) for at in range(0, len(levels), BLOCKS)))


def fresh(chance: random.Random | None = None) -> Canary:
    """A pattern that nobody has seen before, unless ``chance`` has a seed."""
    chance = chance or random.SystemRandom()
    rows = []
    for _ in range(BLOCKS):
        row = [chance.randrange(8, 248)]
        while len(row) < BLOCKS:
            level = chance.randrange(8, 248)
            if abs(level - row[-1]) >= _LEAST_STEP:
                row.append(level)
        rows.append(tuple(row))
    return Canary(tuple(rows))
