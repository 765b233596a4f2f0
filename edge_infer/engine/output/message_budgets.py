"""Budgets of the messages that a pipeline may send on its own account."""

from __future__ import annotations

import threading

from edge_infer.plan.channel_rates import (
    CHANGES_A_MINUTE,
    CHANGES_AT_ONCE,
    DRIFTS_AT_ONCE,
    DRIFTS_PER_SECOND,
    ChannelRates,
    channel_rates,
)
from edge_infer.plan.records import EventsPlan, PipelinePlan, Plan
from edge_infer.platform.rate_limits import MessageBudget


class MessageBudgets:
    """The budgets of all pipelines of an engine. Any thread may call it.

    They continue over plans and models, as the publisher's limits do: if they started afresh, the engine would send
    more than the publisher accepts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budgets: dict[tuple[str, str], MessageBudget] = {}
        self._rates: dict[str, ChannelRates] = {}

    def apply(self, plan: Plan) -> None:
        """Empty budgets that depend on a rate which a new plan changes.

        Under the earlier rate the pipeline may have used up what the publisher accepts at once.
        """
        with self._lock:
            for pipeline in plan.pipelines:
                rates = channel_rates(plan, pipeline)
                before = self._rates.get(pipeline.name, rates)
                self._rates[pipeline.name] = rates
                changed = {"change": rates.results != before.results, "drift": rates.events != before.events}
                for kind in (kind for kind in changed if changed[kind]):
                    if (budget := self._budgets.get((pipeline.name, kind))) is not None:
                        budget.drain()

    def changes(self, plan: PipelinePlan) -> MessageBudget:
        """Return the budget of results that changes cause."""
        each = plan.crops.most if plan.crops else 1
        return self._of(plan.name, "change", CHANGES_A_MINUTE * each, CHANGES_AT_ONCE * each)

    def events(self, pipeline: str, plan: EventsPlan) -> MessageBudget:
        """Return the budget of events."""
        return self._of(pipeline, "event", plan.most)

    def drifts(self, pipeline: str) -> MessageBudget:
        """Return the budget of drifts."""
        return self._of(pipeline, "drift", 60 * DRIFTS_PER_SECOND, DRIFTS_AT_ONCE)

    def _of(self, pipeline: str, kind: str, most: float, at_once: float | None = None) -> MessageBudget:
        with self._lock:
            if (found := self._budgets.get((pipeline, kind))) is None:
                found = self._budgets[pipeline, kind] = MessageBudget(most, at_once)
            found.change(most, at_once)
            return found
