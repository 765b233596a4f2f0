"""The engine's own budgets continue over plans, as the publisher's limits do."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.output.message_budgets import MessageBudgets
from edge_infer.plan.channel_rates import CHANGES_AT_ONCE, DRIFTS_AT_ONCE
from edge_infer.plan.records import EventsPlan, Plan
from edge_infer.platform import rate_limits
from edge_infer.platform.rate_limits import MessageBudget
from edge_infer.publisher.outbox.entry import MessageSeries
from tests.publisher.samples import BOOT
from tests.publisher.test_admission import configured, gate


def taken(budget: MessageBudget, moment: float) -> int:
    return sum(budget.take(moment) for _ in range(1000))


def test_they_continue_where_the_plan_before_ended() -> None:
    budgets, plan = MessageBudgets(), configured(publish="change").pipelines[0]
    for at, most in ((0.0, CHANGES_AT_ONCE), (1.0, 2), (2.0, 2), (100.0, CHANGES_AT_ONCE)):
        assert taken(budgets.changes(plan), 5000.0 + at) == most
    for at, most in ((0.0, 6), (10.0, 1), (20.0, 1)):
        assert taken(budgets.events("door", EventsPlan(most=6.0)), 5000.0 + at) == most
    for at, most in ((0.0, DRIFTS_AT_ONCE), (10.0, 0)):
        assert taken(budgets.drifts("door"), 5000.0 + at) == most
    assert taken(budgets.drifts("yard"), 5000.0) == DRIFTS_AT_ONCE


@pytest.mark.parametrize("every", [0.4, 7.0, 45.0])
def test_an_honest_engine_is_never_refused_over_plans(every: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each plan changes something: limits, the way of publishing, or whether there is the pipeline at all."""
    now = [1000.0]
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(MessageBudget, "_empty_at", -math.inf)

    def of(**keys: Any) -> Plan:
        return configured(**{"fps": 5.0, "publish": "change", "events": EventsPlan(most=6.0), **keys})

    plans = [
        of(), of(publish="every"), of(), of(events=EventsPlan(most=60.0)), of(fps=15.0), of(publish="off"), of(),
        replace(of(), pipelines=()), of(events=None), of(fps=1.0, events=EventsPlan(most=2.0)), of(),
    ]  # fmt: skip
    admission, budgets, sent = gate(plans[0], now[0]), MessageBudgets(), [0, 0]
    for turn in range(400):
        plan = plans[turn % len(plans)]
        admission.apply(plan, now[0])
        budgets.apply(plan)
        until = now[0] + every
        for each in plan.pipelines:
            changes = budgets.changes(each)
            events = budgets.events(each.name, each.events) if each.events else None
            while now[0] < until:
                now[0] += 1 / (each.fps or 1.0)
                if each.publish == "every" or (each.publish == "change" and changes.take(now[0])):
                    sent[0] += 1
                    series = MessageSeries(each.name, BOOT, "result")
                    assert admission.admits(series, sent[0], now[0], highest=sent[0] - 1), (turn, each)
                while events is not None and events.take(now[0], 2):
                    sent[1] += 1
                    series = MessageSeries(each.name, BOOT, "event")
                    assert admission.admits(series, sent[1], now[0], highest=sent[1] - 1, cost=2), (turn, each)
        now[0] = max(now[0], until)
    assert min(sent) > 30
