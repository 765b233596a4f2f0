"""Finds the fastest number of runtime threads for a model on this board, by a few runs with each number."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.models.trials.messages import TINY
from edge_infer.plan.records import PipelinePlan

WORTH: Final = 1.15
"""Required speed-up from more threads, because they use more of the processor in total."""
COUNTS: Final = (2, 3, 4, 6, 8)
RUNS: Final = 3
LEAST: Final = 0.15
"""Minimum seconds of runs with one number of threads, in addition to at least `RUNS` runs."""
MOST: Final = 3.0
"""Seconds of runs after which fewer than `RUNS` are enough."""
ENOUGH: Final = 10.0
"""Total seconds after which no further number is tried."""


def quickest(plan: PipelinePlan, most: int) -> int:
    """Return the fastest number of threads, up to ``most``. Too small a gain ends the search. Raises `ModelError`."""
    return search(lambda count: _seconds(plan, count), most)


def search(measure: Callable[[int], float], most: int) -> int:
    """Return the best number of threads; ``measure`` returns the seconds for a number.

    A gain must show in two interleaved rounds: the slower result with more threads is compared with the faster result
    with fewer. Noise alone therefore does not select more threads.
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
    """Return the seconds of the shortest run, because other load only makes runs longer."""
    with LoadedModel(replace(plan, threads=threads)) as model:
        model.feed(model.parts(model.preprocess.example())[0])
        times: list[float] = []
        while (len(times) < RUNS or sum(times) < LEAST) and sum(times) < MOST:
            begun = time.perf_counter()
            model.interpreter.invoke()
            times.append(time.perf_counter() - begun)
        return min(times)
