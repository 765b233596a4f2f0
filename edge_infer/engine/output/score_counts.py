"""Histogram of the best score of each frame of a pipeline during the last hour; it helps to choose a threshold."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks import Findings
from edge_infer.ipc.messages import SCORE_STEPS, ScoresAnswer

MINUTES: Final = 60


class ScoreCounts:
    """Counts by minute. The pipeline's thread writes; another thread reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._minutes: deque[tuple[int, array[int]]] = deque(maxlen=MINUTES)

    def note(self, findings: Findings) -> None:
        """Count the best score of a frame; a frame without a score is not counted."""
        score = best_score(findings)
        if score is None:
            return
        minute = int(self._clock() // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, array("L", bytes(array("L").itemsize * (SCORE_STEPS + 1)))))
        self._minutes[-1][1][int(min(max(score, 0.0), 1.0) * SCORE_STEPS)] += 1

    def answer(self, pipeline: str, known_from: float) -> ScoresAnswer:
        """Return the counts of the last hour; ``known_from`` is the score below which findings are not known."""
        now = self._clock()
        first = int(now // 60) - MINUTES
        kept = [counts for minute, counts in list(self._minutes) if minute > first]
        totals = tuple(sum(column) for column in zip(*kept, strict=True)) or (0,) * (SCORE_STEPS + 1)
        return ScoresAnswer(pipeline, round(min(now - self._began, MINUTES * 60.0), 1), known_from, totals)


def best_score(findings: Findings) -> float | None:
    """Return the best score of a frame's objects, classes or poses; None if there is none."""
    found = findings.detections if isinstance(findings, Followed) else findings
    for name in ("objects", "classes", "bodies"):
        if items := getattr(found, name, None):
            return float(max(item.score for item in items))
    return None
