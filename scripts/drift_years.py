"""Simulates years of a camera and of a model's findings in which only the time of day changes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

import numpy as np

from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.outcome import WINDOW, OutcomeWatch
from edge_infer.engine.drift.picture import COLUMNS, ROWS, PictureSignals
from edge_infer.ipc.drift import CameraReference, OutcomeReference

YEAR: Final = 365 * 86400.0
SIGNALS: Final = ("score", "objects", "nothing", "near", "size", "label_1", "label_2", "label_3")
LOOK_EVERY: Final = 120.0


class _Window:
    """A window as in `edge_infer.engine.drift.outcome`, with given signals."""

    frames, nothing, near = 100, 0, 0

    def __init__(self, since: float, values: Any) -> None:
        self.since = since
        self.labels: Counter[str] = Counter()
        self.histograms: dict[Any, list[int]] = {}
        self._values = values

    def signals(self, labels: object) -> Any:
        """Return the signals."""
        del labels
        return zip(SIGNALS, (float(value) for value in self._values), strict=True)


def outcome_year(rho: float, seed: int) -> int:
    """Return the number of false alarms in a year after a week of learning; windows correlate by ``rho``."""
    draw, day = np.random.default_rng(seed), round(86400 / WINDOW)
    total, noise = round((YEAR + 8 * 86400) / WINDOW), math.sqrt(1 - rho * rho)
    watch = OutcomeWatch("year", YEAR, 7 * 86400.0, 0.5, (), OutcomeReference("year"))
    level, alarms, rhythm = draw.standard_normal(len(SIGNALS)), 0, draw.uniform(-3, 3, len(SIGNALS))
    steps = draw.standard_normal((total, len(SIGNALS)))
    for number in range(total):
        level = rho * level + noise * steps[number]
        hour = number % day * 24 / day
        values = level + rhythm * math.sin(2 * math.pi * hour / 24)
        now = (number + 1) * WINDOW
        watch._close(now, int(hour), _Window(now - WINDOW, values))  # type: ignore[arg-type]  # noqa: SLF001
        if watch.raised is not None:
            alarms += 1
            watch.raised = None
            for judged in watch._judged.values():  # noqa: SLF001
                judged.sums.reset()
    return alarms


def camera_year(seed: int) -> int:
    """Return the number of false alarms in a year after two days of learning, with infrared light, dusk and rain."""
    draw = np.random.default_rng(seed)
    edges = draw.gamma(2.0, 4.0, COLUMNS + ROWS)
    night = edges * draw.uniform(0.3, 0.9, len(edges))
    watch = CameraWatch("year", YEAR, CameraReference("year"))
    alarms, slow, light = 0, np.zeros(len(edges)), 0.0
    rainy = draw.random(400) < 0.3
    rainy[0] = True  # the reference has seen rain
    for number in range(round((YEAR + 2.5 * 86400) / LOOK_EVERY)):
        now = number * LOOK_EVERY
        hour, day = now / 3600 % 24, int(now // 86400)
        slow = 0.9 * slow + 0.436 * draw.standard_normal(len(edges))
        light = 0.9 * light + 0.436 * float(draw.standard_normal())
        sun = max(0.0, math.sin((hour - 6) / 12 * math.pi))
        infrared, rain = sun < 0.08, bool(rainy[day]) and 9 < hour < 13
        shape = (night if infrared else edges * (0.5 + 0.5 * sun)) * (0.8 if rain else 1.0)
        shape = np.maximum(0.0, shape * (1 + 0.08 * slow) + 0.2 * draw.standard_normal(len(edges)))
        found = PictureSignals(
            (0.25 if infrared else 0.2 + 0.4 * sun) * (1 + 0.05 * light),
            (-1.2 if infrared else -2.2) + (0.3 if rain else 0.0) + 0.05 * float(slow[0]),
            0.1,
            shape[:COLUMNS].astype(np.float32),
            shape[COLUMNS:].astype(np.float32),
        )
        watch.see(now, found)
        if watch.raised is not None:
            alarms += 1
            watch.raised = None
    return alarms
