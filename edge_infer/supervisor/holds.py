"""Pipelines that brought the engine down and had nothing to go back to: held back for a while, each time for longer.

The others go on meanwhile. One that may run again is on parole: the next death of the engine that finds it at work is
its own. A model that the configuration replaces is another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.config.plan import PipelinePlan, Plan
from edge_infer.messages import timestamp

FIRST: Final = 60.0
LONGEST: Final = 1800.0
"""Seconds that a pipeline is held back."""
PAROLE: Final = 600.0
"""Seconds after which one that runs again is like any other."""


@dataclass(frozen=True, slots=True)
class _Hold:
    sha: str
    reason: str
    pause: float
    until: float


class Holds:
    """Who may not run now, and why; times are of the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, _Hold] = {}

    def hold(self, pipelines: Iterable[PipelinePlan], how: str) -> None:
        """From now on they are held back; ``how`` the engine died."""
        now = self._clock()
        for pipeline in pipelines:
            before = self._by_name.get(pipeline.name)
            pause = min(before.pause * 2, LONGEST) if before is not None else FIRST
            again = timestamp(time.time() + pause)
            reason = f"the {how} while {pipeline.name} was at work; it is tried again at {again}"
            self._by_name[pipeline.name] = _Hold(pipeline.model.identity, reason, pause, now + pause)

    def free(self, pipelines: Iterable[str]) -> bool:
        """Somebody wants them to run at once; whether one of them was held back."""
        now = self._clock()
        held = [name for name in pipelines if name in self._by_name and now < self._by_name[name].until]
        for name in held:
            del self._by_name[name]
        return bool(held)

    def held(self, plan: Plan) -> Mapping[str, str]:
        """Why pipelines of a plan may not run, by their names; what is known of other models is forgotten."""
        now, shas = self._clock(), {each.name: each.model.identity for each in plan.pipelines}
        self._by_name = {
            name: hold
            for name, hold in self._by_name.items()
            if shas.get(name) == hold.sha and now < hold.until + PAROLE
        }
        return {name: hold.reason for name, hold in self._by_name.items() if now < hold.until}

    def on_parole(self, plan: Plan) -> frozenset[str]:
        """The pipelines that run again after they were held back."""
        held = self.held(plan)
        return frozenset(self._by_name.keys() - held.keys())
