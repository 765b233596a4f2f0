"""The worst mistakes: large objects that were missed, and false alarms with high scores."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.frames.geometry import Box

KEPT: Final = 12
"""Mistakes of each kind in a report."""

MistakeKind = Literal["missed", "false_alarm"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: the labelled class, the found one and its score, and their boxes in pixels.

    Empty names and None where there is none.
    """

    kind: MistakeKind
    name: str
    path: str
    true: str
    found: str
    score: float | None
    true_box: Box | None = None
    found_box: Box | None = None


class WorstMistakes:
    """Keeps the worst mistakes of each kind; of equal ones those that came first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._heaps: dict[MistakeKind, list[tuple[float, int, Mistake]]] = {"missed": [], "false_alarm": []}
        self._count = 0

    def offer(self, badness: float, mistake: Mistake) -> None:
        """Take a mistake if it is one of the worst."""
        self._count += 1
        heap, item = self._heaps[mistake.kind], (badness, -self._count, mistake)
        if len(heap) < self._kept:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)

    def of(self, kind: MistakeKind) -> list[Mistake]:
        """Return the mistakes of a kind, the worst first."""
        return [mistake for _, _, mistake in sorted(self._heaps[kind], key=lambda item: item[:2], reverse=True)]
