"""A pattern that is known again after scaling: eight rows of eight flat levels and some words, new for each audit."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Final

BLOCKS: Final = 8
_LEAST_STEP: Final = 24
"""Grey levels between two neighbours of a row, so that a change of block is a change of value."""
_WORDS, _LETTERS = 4, 14


@dataclass(frozen=True, slots=True)
class Canary:
    """``rows`` of levels, 0 to 255, and ``words`` that nobody says.

    In a picture all three colours of a pixel have the same level, whatever their order.
    """

    rows: tuple[tuple[int, ...], ...]
    words: tuple[str, ...] = ()

    def picture(self, width: int, height: int, channels: int = 1) -> bytes:
        """The pattern as ``height x width x channels`` bytes."""
        lines = []
        for row in self.rows:
            columns = (row[x * BLOCKS // width] for x in range(width))
            lines.append(b"".join(bytes((level,)) * channels for level in columns))
        return b"".join(lines[y * BLOCKS // height] for y in range(height))

    def samples(self, rate: float, first: int, count: int) -> list[float]:
        """The pattern as a signal from -1 to 1, its rows again and again; each level lasts 2.5 ms, or eight samples."""
        hold = max(8, round(rate / 400))
        levels = [level for row in self.rows for level in row]
        return [levels[at // hold % len(levels)] / 127.5 - 1 for at in range(first, first + count)]

    def line(self) -> str:
        """The words as a line of text."""
        return " ".join(self.words)

    def text(self) -> str:
        """All of it in letters and digits, for a command line."""
        return "-".join((b"".join(map(bytes, self.rows)).hex(), *self.words))

    @classmethod
    def from_text(cls, text: str) -> Canary:
        """What `text` gave."""
        digits, *words = text.split("-")
        levels = bytes.fromhex(digits)
        return cls(tuple(tuple(levels[at : at + BLOCKS]) for at in range(0, len(levels), BLOCKS)), tuple(words))


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
    words = ("".join(chance.choice(string.ascii_lowercase) for _ in range(_LETTERS)) for _ in range(_WORDS))
    return Canary(tuple(rows), tuple(words))
