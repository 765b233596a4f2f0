"""Pattern that can be recognized after scaling. Each audit makes a new pattern.

The pattern has eight rows of eight flat grey levels, and some words.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Final

BLOCKS: Final = 8
_LEAST_STEP: Final = 24
"""Minimum difference in grey level between neighbours in a row, so that every new block changes the value."""
_WORDS, _LETTERS = 4, 14


@dataclass(frozen=True, slots=True)
class Canary:
    """``rows`` of grey levels, 0 to 255, and random ``words`` that occur in no language.

    In a picture, all three colours of a pixel have the same level, so their order does not matter.
    """

    rows: tuple[tuple[int, ...], ...]
    words: tuple[str, ...] = ()

    def picture(self, width: int, height: int, channels: int = 1) -> bytes:
        """Return the pattern as ``height x width x channels`` bytes."""
        lines = []
        for row in self.rows:
            columns = (row[x * BLOCKS // width] for x in range(width))
            lines.append(b"".join(bytes((level,)) * channels for level in columns))
        return b"".join(lines[y * BLOCKS // height] for y in range(height))

    def samples(self, rate: float, first: int, count: int) -> list[float]:
        """Return the pattern as a signal from -1 to 1 that repeats its rows.

        Each level lasts 2.5 ms, or eight samples if that is longer.
        """
        hold = max(8, round(rate / 400))
        levels = [level for row in self.rows for level in row]
        return [levels[at // hold % len(levels)] / 127.5 - 1 for at in range(first, first + count)]

    def line(self) -> str:
        """Return the words as a line of text."""
        return " ".join(self.words)

    def text(self) -> str:
        """Return the whole pattern as letters and digits, for a command line."""
        return "-".join((b"".join(map(bytes, self.rows)).hex(), *self.words))

    @classmethod
    def from_text(cls, text: str) -> Canary:
        """Return the pattern from the result of `text`."""
        digits, *words = text.split("-")
        levels = bytes.fromhex(digits)
        return cls(tuple(tuple(levels[at : at + BLOCKS]) for at in range(0, len(levels), BLOCKS)), tuple(words))


def fresh(chance: random.Random | None = None) -> Canary:
    """Return a new random pattern; ``chance`` with a seed makes it reproducible."""
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
