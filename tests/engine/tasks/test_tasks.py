"""Poses, segments, anomalies and values: from candidates to what a subscriber reads."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from edge_infer.contract.codec import JsonValue, decode_json, dumps, encode, loads, replace
from edge_infer.contract.messages import STATE_KEYS, Result, State, Task
from edge_infer.engine.output.outcome import Composer, Outcome
from edge_infer.engine.output.publish_policy import PublishPolicy
from edge_infer.engine.records import Bodies, Distance, Numbers, Regions
from edge_infer.engine.tasks import TASKS, Findings, task_class
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import NO_PLACE, Transform
from edge_infer.plan.outcome_limits import MARKS
from edge_infer.plan.records import PipelinePlan, ValuePlan
from tests.engine.plans import pipeline

FRAME = Frame(np.zeros((100, 200, 3), np.uint8), "bgr", 1_700_000_000.25, 50.0, 1)
LETTERBOX = Transform.fit((200, 100), (64, 64), "letterbox")


def outcome(plan: PipelinePlan, findings: Findings) -> Outcome:
    return Composer(plan, "9f2c1a")(findings, FRAME, 50.01)


def said(plan: PipelinePlan, findings: Findings, key: str) -> JsonValue:
    """The outcome on the wire, which fits the closed schema and the bytes allowed."""
    made = outcome(plan, findings)
    payload = dumps(made.result(1))
    assert decode_json(Result, payload) == made.result(1)
    assert decode_json(State, dumps(made.state())) == made.state()
    assert len(payload) + MARKS <= plan.max_payload
    value = loads(payload)
    assert isinstance(value, dict)
    return value[key]


def test_every_task_of_the_contract_has_a_class_and_an_unknown_state() -> None:
    assert set(TASKS) == set(get_args(Task))
    for task in TASKS:
        state = Composer(pipeline(task), "9f2c1a").nothing("source_lost")
        assert decode_json(State, dumps(state)) == state
        assert task_class(task).unknown == {STATE_KEYS[task]: None}


def test_poses_lie_in_the_frame_and_are_counted() -> None:
    points = np.array([[[0.5, 0.5, 0.9], [0.0, 0.25, 0.8]], [[0.5, 0.5, 0.2], [2.0, -1.0, 0.1]]], np.float32)
    plan = pipeline("pose", names=("person",))
    found = task_class("pose")(plan)(Bodies(points, np.array([0.6, 0.9], np.float32)), LETTERBOX, 0.0)
    assert said(plan, found, "poses") == [
        {"score": 0.9, "points": [[0.5, 0.5, 0.2], [1.0, 0.0, 0.1]]},
        {"score": 0.6, "points": [[0.5, 0.5, 0.9], [0.0, 0.0, 0.8]]},
    ]
    assert outcome(plan, found).state().counts == {"person": 2}


def test_poses_of_one_body_are_merged_by_their_boxes() -> None:
    bodies = Bodies(
        np.zeros((3, 1, 3), np.float32),
        np.array([0.6, 0.9, 0.7], np.float32),
        np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.52], [0.6, 0.6, 0.9, 0.9]], np.float32),
    )
    plan = pipeline("pose", names=("person",))
    assert task_class("pose")(plan)(bodies, LETTERBOX, 0.0).essence == (("person", 2),)


def test_more_poses_than_fit_are_counted() -> None:
    plan = pipeline("pose", names=("person",))
    bodies = Bodies(np.full((9, 17, 3), 0.123, np.float32), np.linspace(0.9, 0.6, 9, dtype=np.float32))
    found = task_class("pose")(plan)(bodies, LETTERBOX, 0.0)
    shown = said(plan, found, "poses")
    assert isinstance(shown, list)
    assert said(plan, found, "more") == 9 - len(shown)


def test_shares_are_of_the_frame_without_the_bars() -> None:
    classes = np.zeros((64, 64), np.int32)
    classes[:16] = classes[48:] = 2  # the bars of the letterbox
    classes[16:32, :32] = 1
    plan = pipeline("segmentation", threshold=0.1)
    found = task_class("segmentation")(plan)(Regions(classes), LETTERBOX, 0.0)
    assert said(plan, found, "segments") == [{"label": "cat", "share": 0.75}, {"label": "dog", "share": 0.25}]
    assert outcome(plan, found).state().counts == {"cat": 1, "dog": 1}
    small = task_class("segmentation")(replace(plan, labels=("dog",)))(Regions(classes[::4, ::4]), LETTERBOX, 0.0)
    assert said(plan, small, "segments") == [{"label": "dog", "share": 0.25}]


@pytest.mark.parametrize(("score", "state"), [(3.21987, "normal"), (12.5, "anomalous")])
def test_an_anomaly_is_one_from_the_threshold_on(score: float, state: str) -> None:
    plan = pipeline("anomaly", threshold=12.5)
    found = task_class("anomaly")(plan)(Distance(score), NO_PLACE, 0.0)
    expected = {"score": round(score, 3), "threshold": 12.5, "state": state}
    assert said(plan, found, "anomaly") == expected
    assert encode(outcome(plan, found).state().anomaly) == expected
    assert found.essence == state


def test_no_number_is_neither_normal_nor_anomalous() -> None:
    with pytest.raises(ModelError, match="no number"):
        task_class("anomaly")(pipeline("anomaly"))(Distance(float("nan")), NO_PLACE, 0.0)


def values(*plans: ValuePlan) -> PipelinePlan:
    plan = pipeline("regression")
    return replace(plan, model=replace(plan.model, values=plans))


def numbers(*found: float) -> Numbers:
    return Numbers(np.array(found, np.float32))


def test_values_are_scaled_named_and_rounded_to_their_step() -> None:
    plan = values(ValuePlan("level", "l", scale=2.0, step=0.25), ValuePlan("flow"))
    found = task_class("regression")(plan)(numbers(1.234, 0.5), NO_PLACE, 0.0)
    assert said(plan, found, "values") == [
        {"name": "level", "value": 2.47, "unit": "l"},
        {"name": "flow", "value": 0.5, "unit": ""},
    ]
    assert read(found) == pytest.approx((2.468, 0.5))


def test_a_value_may_move_exactly_as_fast_as_its_limit() -> None:
    task = task_class("regression")(values(ValuePlan("level", max_rate=1.0)))
    told = [read(task(numbers(20 + 0.1 * step), NO_PLACE, 0.1 * step)) for step in range(100)]
    assert all(each != (None,) for each in told)
    assert read(task(numbers(31.0), NO_PLACE, 10.0)) == (None,)


def test_a_value_counts_as_changed_once_it_has_moved_by_its_step() -> None:
    """Compared with the last one that was told, also if a heartbeat told it."""
    plan = replace(values(ValuePlan("level", step=0.5)), publish="change", heartbeat=60.0)
    task, policy = task_class("regression")(plan), PublishPolicy(plan)
    told = []
    series = (0.24, 0.26, 0.24, 0.3, 0.73, 0.75, 0.3, 0.24, math.nan, 0.25)
    for second, value in enumerate(series):
        found = task(numbers(value), NO_PLACE, second)
        told += [value] if policy.result_due(found.essence, float(second)) else []
    assert told == pytest.approx([0.24, 0.75, 0.24, math.nan, 0.25], nan_ok=True)
    beaten = task(numbers(0.7), NO_PLACE, 80.0)
    assert policy.result_due(beaten.essence, 80.0), "the heartbeat"
    assert policy.result_due(task(numbers(0.1), NO_PLACE, 81.0).essence, 81.0)


def read(found: Measurement) -> tuple[float | None, ...]:
    return tuple(each.value for each in found.essence)


@pytest.mark.parametrize("impossible", [-0.1, 10.1, float("nan"), float("inf")])
def test_what_cannot_be_is_null_and_marked(impossible: float) -> None:
    plan = values(ValuePlan("level", "l", min=0.0, max=10.0))
    found = task_class("regression")(plan)(numbers(impossible), NO_PLACE, 0.0)
    assert said(plan, found, "values") == [{"name": "level", "value": None, "unit": "l", "implausible": True}]


def test_a_value_that_jumps_is_implausible_until_time_allows_it() -> None:
    task = task_class("regression")(values(ValuePlan("level", max_rate=1.0)))
    told = [read(task(numbers(value), NO_PLACE, moment)) for value, moment in ((1, 0), (5, 1), (1.5, 2), (5, 6))]
    assert told == [(1.0,), (None,), (1.5,), (5.0,)]
