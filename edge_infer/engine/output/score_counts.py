"""Histogram of the scores that a pipeline found during the last hour; it helps to choose a threshold."""

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
        """Count the scores of a frame; a frame without a score is not counted."""
        scores = scores_of(findings)
        if not scores:
            return
        minute = int(self._clock() // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, array("L", bytes(array("L").itemsize * (SCORE_STEPS + 1)))))
        counts = self._minutes[-1][1]
        for score in scores:
            counts[int(min(max(score, 0.0), 1.0) * SCORE_STEPS)] += 1

    def answer(self, pipeline: str, known_from: float) -> ScoresAnswer:
        """Return the counts of the last hour; ``known_from`` is the score below which findings are not known."""
        now = self._clock()
        first = int(now // 60) - MINUTES
        kept = [counts for minute, counts in list(self._minutes) if minute > first]
        totals = tuple(sum(column) for column in zip(*kept, strict=True)) or (0,) * (SCORE_STEPS + 1)
        return ScoresAnswer(pipeline, round(min(now - self._began, MINUTES * 60.0), 1), known_from, totals)


def scores_of(findings: Findings) -> list[float]:
    """Return the score of every object or pose of a frame, or that of its best class."""
    found = findings.detections if isinstance(findings, Followed) else findings
    if classes := getattr(found, "classes", ()):
        return [float(max(each.score for each in classes))]
    return [float(each.score) for name in ("objects", "bodies") for each in getattr(found, name, ())]
