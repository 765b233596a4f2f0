"""What became of everything that was looked at in the last minutes, so that "why did it not tell me?" has an answer."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

MOST: Final = 1000
"""Decisions that are remembered; those that repeat themselves are one."""
TOGETHER: Final = 2.0
"""Seconds within which the same decision about the same label is only counted."""
RECENT: Final = 16
"""How many decisions are looked back on for the same one."""
STILL: Final = "still"
"""The stage before all others: nothing moved, so nothing was looked at, whatever the label."""
TOLD: Final = "result"
REPEATED: Final = "repeated"
"""The last stages where there are no events: a result told it, or did not because ``publish`` wanted none."""


@dataclass(slots=True)
class Decision:
    """One thing that was decided ``count`` times between ``begin`` and ``end`` (wall time): which label, and why.

    ``text`` is a sentence, or what becomes one when somebody asks (its ``str``).
    """

    begin: float
    end: float
    label: str
    stage: str
    text: object
    best: float
    count: int = 1

    def sentence(self) -> str:
        """``08:45:12 person 0.42, 14 times in 3 s: below the threshold of 0.60``; of another day with its date."""
        begin = time.localtime(self.begin)
        same_day = begin[:3] == time.localtime()[:3]
        at = time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", begin)
        often = f", {self.count} times in {max(1, round(self.end - self.begin))} s" if self.count > 1 else ""
        return f"{at} {self._what()}{often}: {self.text}"

    def matter(self) -> str:
        """The same without when and how often."""
        return f"{self._what()}: {self.text}"

    def _what(self) -> str:
        return "no motion" if self.stage == STILL else f"{self.label or 'anomaly'} {self.best:.2f}"


class Decisions:
    """Bounded; written by the thread of a pipeline, read by another."""

    def __init__(self, most: int = MOST) -> None:
        self._kept: deque[Decision] = deque(maxlen=most)
        self._since = time.time()

    def note(self, wall: float, label: str | None, score: float, stage: str, text: object) -> None:
        """Something was decided; ``text`` says why, with its numbers."""
        name = label or ""
        for index in range(1, min(RECENT, len(self._kept)) + 1):
            last = self._kept[-index]
            if (last.stage, last.label) == (stage, name) and 0 <= wall - last.end < TOGETHER:
                last.end, last.count = wall, last.count + 1
                if score >= last.best:
                    last.best, last.text = score, text
                return
        if len(self._kept) == self._kept.maxlen:
            self._since = self._kept[0].end
        self._kept.append(Decision(wall, wall, name, stage, text, score))

    def inherit(self, before: Decisions) -> None:
        """Goes on where another record ends."""
        self._kept.extendleft(reversed(before._kept))
        self._since = before._since

    def between(self, since: float, until: float = math.inf, label: str | None = None) -> list[Decision]:
        """Those of a time (seconds since the epoch), of a label or of all; what was not looked at may have been any."""
        kept = [each for each in list(self._kept) if each.end >= since and each.begin <= until]
        return [each for each in kept if label in (None, each.label) or each.stage == STILL]

    def now(self, wall: float) -> list[Decision]:
        """Those of the frame of this time, without what its result shows by itself."""
        recent = [self._kept[-index] for index in range(1, min(RECENT, len(self._kept)) + 1)]
        return [each for each in reversed(recent) if each.end == wall and each.stage not in (TOLD, REPEATED)]

    @property
    def begins(self) -> float:
        """From when on everything is remembered."""
        return self._since
