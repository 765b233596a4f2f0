"""The rules by which an engine's messages are checked: those of the plan by which it works.

An engine needs some time until it works by a new plan. What it captured until then may have the words and forms of the
plan before; anything later has those of the new plan only.
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
    """The words of some plans, and for each pipeline a form that allows what one of these plans allows."""

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
    """The present plan, and earlier ones with the uptime until which captures may still be made by them."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._earlier: list[tuple[float, Plan]] = []
        self._made: dict[tuple[int, ...], PlanRules] = {}

    def apply(self, plan: Plan, at: float) -> None:
        """Set the present plan, which came at this uptime."""
        before, self._plan = self._plan, plan
        if before is not None and before.pipelines != plan.pipelines:
            self._earlier.append((at + switch_seconds(before, plan), before))
            del self._earlier[:-MOST_EARLIER]
        self._made.clear()

    def forget(self) -> None:
        """Forget the earlier plans: a new engine never worked by them."""
        self._earlier.clear()
        self._made.clear()

    def at(self, moment: float) -> PlanRules:
        """Return the rules for a capture at this uptime."""
        used = tuple(number for number, (until, _) in enumerate(self._earlier) if moment < until)
        if (rules := self._made.get(used)) is None:
            plans = [self._earlier[number][1] for number in used]
            rules = self._made[used] = PlanRules.of([*plans, *([] if self._plan is None else [self._plan])])
        return rules
