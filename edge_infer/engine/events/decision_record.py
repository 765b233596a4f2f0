"""Record of recent decisions about findings; it shows why something was not published."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

MOST: Final = 1000
"""Maximum number of decisions kept; repeated decisions count as one."""
TOGETHER: Final = 2.0
"""Seconds within which a repeated decision about the same label increases the count of the existing entry."""
RECENT: Final = 256
"""Number of newest entries among which an equal decision is found and counted. The number exceeds the number of labels
in a frame."""
STILL: Final = "still"
"""Name of the first stage: without motion the model did not run, so the decision applies to every label."""
TOLD: Final = "result"
REPEATED: Final = "repeated"
SPENT: Final = "spent"
"""Last stages in a pipeline without events: the result was published, ``publish`` suppressed it, or it waits because
the budget for changes is used up."""


@dataclass(slots=True)
class Decision:
    """One decision about a label, made ``count`` times between ``begin`` and ``end`` (seconds since the epoch).

    ``text`` is the reason: a sentence, or an object whose ``str`` yields the sentence on demand.
    """

    begin: float
    end: float
    label: str
    stage: str
    text: object
    best: float
    count: int = 1

    def sentence(self) -> str:
        """Return the decision as a line, with the date if the decision is not of today.

        For example ``08:45:12 person 0.42, 14 times in 3 s: below the threshold of 0.60``.
        """
        begin = time.localtime(self.begin)
        same_day = begin[:3] == time.localtime()[:3]
        at = time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", begin)
        often = f", {self.count} times in {max(1, round(self.end - self.begin))} s" if self.count > 1 else ""
        return f"{at} {self._what()}{often}: {self.text}"

    def matter(self) -> str:
        """Return the sentence without time and count."""
        return f"{self._what()}: {self.text}"

    def _what(self) -> str:
        return "no motion" if self.stage == STILL else f"{self.label or 'anomaly'} {self.best:.2f}"


class Decisions:
    """Bounded list of decisions; the thread of a pipeline writes it, another thread reads it."""

    def __init__(self, most: int = MOST) -> None:
        self._kept: deque[Decision] = deque(maxlen=most)
        self._newest: dict[tuple[str, str], tuple[int, Decision]] = {}
        """The newest entry of each stage and label, with its number. Searching for it would cost time in each frame."""
        self._made = 0
        self._since = time.time()

    def note(self, wall: float, label: str | None, score: float, stage: str, text: object) -> None:
        """Record a decision; ``text`` is the reason with its numbers."""
        key = (stage, label or "")
        if (newest := self._newest.get(key)) is not None:
            number, last = newest
            if self._made - number <= RECENT and 0 <= wall - last.end < TOGETHER:
                last.end = wall
                last.count += 1
                if score >= last.best:
                    last.best, last.text = score, text
                return
        if len(self._kept) == self._kept.maxlen:
            self._drop_oldest()
        made = Decision(wall, wall, key[1], stage, text, score)
        self._newest[key] = self._made, made
        self._made += 1
        self._kept.append(made)

    def _drop_oldest(self) -> None:
        oldest = self._kept.popleft()
        self._since = oldest.end
        key = (oldest.stage, oldest.label)
        if (found := self._newest.get(key)) is not None and found[1] is oldest:
            del self._newest[key]

    def inherit(self, before: Decisions) -> None:
        """Prepend the decisions of the predecessor, which this pipeline continues."""
        self._kept.extendleft(reversed(before._kept))
        self._since = before._since

    def between(self, since: float, until: float = math.inf, label: str | None = None) -> list[Decision]:
        """Return the decisions of a period (seconds since the epoch) about a label (None: all).

        Entries of the stage `STILL` match any label.
        """
        kept = [each for each in list(self._kept) if each.end >= since and each.begin <= until]
        return [each for each in kept if label in (None, each.label) or each.stage == STILL]

    def now(self, wall: float) -> list[Decision]:
        """Return the decisions about the frame captured at ``wall``, except those that its published result shows."""
        recent = [self._kept[-index] for index in range(1, min(RECENT, len(self._kept)) + 1)]
        return [each for each in reversed(recent) if each.end == wall and each.stage not in (TOLD, REPEATED, SPENT)]

    @property
    def begins(self) -> float:
        """Start of the period that the record covers completely, in seconds since the epoch."""
        return self._since
