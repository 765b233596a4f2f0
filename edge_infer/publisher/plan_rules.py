"""Rules by which the publisher checks an engine's messages.

They come from the plan that the engine used when it captured the frame. An engine needs some time to switch to a new
plan. A message about a frame that was captured earlier may have the words and forms of the previous plan. A message
about a later frame may have only those of the new plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edge_infer.plan.records import Plan
from edge_infer.plan.switch_time import switch_seconds
from edge_infer.publisher.canonical import OutcomeForm
from edge_infer.publisher.known_words import KnownWords

MOST_EARLIER: Final = 8
"""Number of earlier plans that are remembered. Only reloads within seconds of each other need more than one."""


@dataclass(frozen=True, slots=True)
class PlanRules:
    """The words of some plans, and for each pipeline a form that allows everything that any of these plans allows."""

    words: KnownWords
    forms: dict[str, OutcomeForm]

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> PlanRules:
        """Return the rules of plans, the newest last."""
        words, forms = KnownWords(), dict[str, OutcomeForm]()
        for plan in plans:
            words.apply(plan)
            for pipeline in plan.pipelines:
                forms[pipeline.name] = OutcomeForm.of(pipeline).joined(forms.get(pipeline.name))
        return cls(words, forms)


class PlanHistory:
    """The current plan, and earlier ones, each with the uptime until which the engine may still use it."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._earlier: list[tuple[float, Plan]] = []
        self._made: dict[tuple[int, ...], PlanRules] = {}

    def apply(self, plan: Plan, at: float) -> None:
        """Set the current plan, which this process received at this time (seconds of uptime)."""
        before, self._plan = self._plan, plan
        if before is not None and before.pipelines != plan.pipelines:
            self._earlier.append((at + switch_seconds(before, plan), before))
            del self._earlier[:-MOST_EARLIER]
        self._made.clear()

    def forget(self) -> None:
        """Forget the earlier plans: a new engine has never used them."""
        self._earlier.clear()
        self._made.clear()

    def at(self, moment: float) -> PlanRules:
        """Return the rules for messages about a frame that was captured at this time (seconds of uptime)."""
        used = tuple(number for number, (until, _) in enumerate(self._earlier) if moment < until)
        if (rules := self._made.get(used)) is None:
            plans = [self._earlier[number][1] for number in used]
            rules = self._made[used] = PlanRules.of([*plans, *([] if self._plan is None else [self._plan])])
        return rules
