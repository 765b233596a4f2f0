"""How many threads of the runtime are the quickest for a model on this board: measured, by a few runs with each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from edge_infer.codec import replace
from edge_infer.config.plan import PipelinePlan
from edge_infer.engine.model import LoadedModel
from edge_infer.models.equipment import TINY

WORTH: Final = 1.15
"""More threads have to be so many times as fast as fewer: they take more of the processor altogether."""
COUNTS: Final = (2, 3, 4, 6, 8)
RUNS: Final = 3
LEAST: Final = 0.15
"""Seconds of runs with one number of threads, and `RUNS` of them, at least."""
MOST: Final = 3.0
"""Seconds of them after which fewer runs will do."""
ENOUGH: Final = 10.0
"""Seconds altogether after which no further number is tried."""


def quickest(plan: PipelinePlan, most: int) -> int:
    """The number, ``most`` at most; the first that brings too little ends the search. Raises `ModelError`."""
    return search(lambda count: _seconds(plan, count), most)


def search(measure: Callable[[int], float], most: int) -> int:
    """The number of threads by what ``measure`` says of some, in seconds.

    A gain has to show twice, by turns, in the worse of both measurements of more threads against the better one of
    fewer: within the noise the smaller number is right, at each start.
    """
    begun = time.monotonic()
    best, seconds = 1, measure(1)
    for count in COUNTS:
        if count > most or seconds < TINY or time.monotonic() - begun > ENOUGH:
            break
        other = measure(count)
        if other * WORTH > seconds:
            break
        other, seconds = max(other, measure(count)), min(seconds, measure(best))
        if other * WORTH > seconds:
            break
        best, seconds = count, other
    return best


def _seconds(plan: PipelinePlan, threads: int) -> float:
    """Of the shortest run: what else the board does only makes them longer."""
    with LoadedModel(replace(plan, threads=threads)) as model:
        model.feed(model.parts(model.preprocess.example())[0])
        times: list[float] = []
        while (len(times) < RUNS or sum(times) < LEAST) and sum(times) < MOST:
            begun = time.perf_counter()
            model.interpreter.invoke()
            times.append(time.perf_counter() - begun)
        return min(times)
