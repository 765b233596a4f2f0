"""One outcome has one record: what a compromised engine spends on digits, order and form does not leave."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.contract.messages import (
    Anomaly,
    DetectedObject,
    Event,
    Parent,
    Pose,
    Result,
    ScoredLabel,
    Segment,
    State,
    Value,
)
from edge_infer.contract.precision import PRECISIONS, Precision
from edge_infer.contract.topics import Place
from edge_infer.plan.records import CropsPlan, NmsPlan, ValuePlan
from edge_infer.publisher.canonical import OutcomeForm
from edge_infer.publisher.egress import Egress
from tests.publisher.samples import BOOT, SHA, TS, model_plan, mqtt_plan, plan, result

RESULT, EVENT, STATE = Place("result", "door"), Place("event", "door"), Place("state", "door")
numbers = st.floats(0, 1, allow_nan=False)


def guard(task: Any = "detection", detail: Any = "full", **changes: Any) -> Egress:
    model = replace(model_plan(), task=task, **changes)
    configured = plan(mqtt_plan(1883), model=model)
    egress = Egress()
    egress.apply(replace(configured, pipelines=tuple(replace(one, detail=detail) for one in configured.pipelines)))
    return egress


def sent(egress: Egress, record: Result) -> Result:
    payload = egress.admit(RESULT, record)
    assert payload is not None
    assert egress.release(RESULT, payload) == payload
    return decode_json(Result, payload)


def outcome(task: Any, **found: Any) -> Result:
    return Result(1, TS, BOOT, 1, "faces@1.0.0", SHA[:8], task, **found)


def seen(score: float, *box: float, label: str = "face") -> DetectedObject:
    return DetectedObject(label, score, box)  # type: ignore[arg-type]


@given(numbers)
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_rounding_twice_is_rounding_once(precision: Precision, value: float) -> None:
    for rounded in (precision.place, precision.score, precision.milliseconds, precision.distance):
        for scale in (1, 1000, 1e9):
            once = rounded(value * scale if rounded not in (precision.place, precision.score) else value)
            assert rounded(once) == once


@given(st.permutations([seen(0.9, 0, 0, 0.5, 0.5), seen(0.9, 0, 0.25, 0.5, 0.5), seen(0.8, 0, 0, 0.5, 0.5)]))
def test_the_order_of_objects_carries_nothing(objects: list[DetectedObject]) -> None:
    left = sent(guard(), outcome("detection", objects=tuple(objects))).objects
    assert left == (seen(0.9, 0, 0, 0.5, 0.5), seen(0.9, 0, 0.25, 0.5, 0.5), seen(0.8, 0, 0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("detail", "box"), [("full", (0.1001, 0.2, 0.3, 0.3999)), ("coarse", (0.0938, 0.2031, 0.2969, 0.4062))]
)
def test_places_are_on_the_grid(detail: str, box: tuple[float, ...]) -> None:
    found = sent(guard(detail=detail), outcome("detection", objects=(seen(0.914, 0.1002, 0.2, 0.3, 0.4),)))
    assert found.objects
    assert found.objects[0].box == box
    assert found.objects[0].score == (0.914 if detail == "full" else 0.9)


def test_a_box_has_its_lower_corner_first_and_zero_has_no_sign() -> None:
    found = sent(guard(), outcome("detection", objects=(seen(0.9, 0.5, -0.0, 0.25, 1.0),))).objects
    assert found
    assert dumps(found[0].box) == b"[0.25,0.0,0.5,1.0]"


def test_a_score_is_not_below_what_the_pipeline_looks_at() -> None:
    found = sent(guard(), outcome("detection", objects=(seen(0.123, 0, 0, 0.5, 0.5),))).objects
    assert found
    assert found[0].score == 0.4  # the threshold less the hysteresis of events


def test_milliseconds_and_more_are_bounded() -> None:
    found = sent(guard(nms=NmsPlan(max=10)), result(1, ms=123_456_789.1, more=2**53))
    assert (found.ms, found.more) == (600_000.0, 9)
    assert sent(guard(nms=NmsPlan(max=1)), result(1, more=5)).more is ABSENT
    assert sent(guard(), result(1, ms=1234.5)).ms == 1230.0


def test_only_the_outcome_of_the_models_own_task_leaves() -> None:
    egress = guard()
    assert egress.admit(RESULT, outcome("segmentation", segments=(Segment("face", 0.5),))) is None
    assert egress.admit(STATE, State(1, TS, BOOT, "faces@1.0.0", SHA[:8], class_="face")) is None
    assert egress.rejected == 2


def test_more_objects_than_the_pipeline_keeps_are_no_result() -> None:
    assert guard(nms=NmsPlan(max=2)).admit(RESULT, result(1, objects=3)) is None


def test_classes_poses_and_segments_have_one_form() -> None:
    classes = (ScoredLabel("mask", 0.7), ScoredLabel("face", 0.7), ScoredLabel("face", 0.9))
    found = sent(guard("classification"), outcome("classification", classes=classes, more=7))
    assert found.classes == (classes[2], classes[1], classes[0])
    assert found.more == 2  # of the five that top_k allows
    poses = (Pose(0.6, ((0.1, 0.1, 0.5),)), Pose(0.7, ((0.9999, 0.0, -0.0),)))
    left = sent(guard("pose"), outcome("pose", poses=poses)).poses
    assert dumps(left) == b'[{"score":0.7,"points":[[1.0,0.0,0.0]]},{"score":0.6,"points":[[0.1001,0.1001,0.5]]}]'
    segments = (Segment("face", 0.1), Segment("mask", 0.9))
    shares = sent(guard("segmentation"), outcome("segmentation", segments=segments)).segments
    assert shares == (Segment("mask", 0.8999), Segment("face", 0.1001))


def test_an_anomaly_has_six_digits_and_the_threshold_of_the_pipeline() -> None:
    found = sent(guard("anomaly"), outcome("anomaly", anomaly=Anomaly(123.456, 0.123, "normal"))).anomaly
    assert found == Anomaly(123.456, 0.5, "normal")
    huge = sent(guard("anomaly"), outcome("anomaly", anomaly=Anomaly(1234567.891, 7.0, "anomalous"))).anomaly
    assert huge == Anomaly(1234570.0, 0.5, "anomalous")


def test_a_zero_has_no_sign() -> None:
    found = sent(guard("anomaly"), outcome("anomaly", ms=-0.0, anomaly=Anomaly(-0.0, 0.5, "normal")))
    assert b"-0" not in dumps(found)
    threshold = replace(plan(mqtt_plan(1883)).pipelines[0], threshold=0.0, model=replace(model_plan(), task="anomaly"))
    form = OutcomeForm.of(threshold)
    assert b"-0" not in dumps(form.result(outcome("anomaly", anomaly=Anomaly(0.1, -0.0, "normal"))))


LEVELS = (ValuePlan("level", "l", step=0.1, min=0.0, max=10.0), ValuePlan("flow", "l"))


def test_values_come_in_the_order_of_the_manifest_and_within_its_bounds() -> None:
    egress = guard("regression", values=LEVELS)
    values = (Value("level", 10.1, "l"), Value("flow", -0.0, "l", implausible=True))
    found = sent(egress, outcome("regression", values=values)).values
    assert dumps(found) == (
        b'[{"name":"level","value":null,"unit":"l","implausible":true},{"name":"flow","value":0.0,"unit":"l"}]'
    )
    for wrong in (values[::-1], (values[0], values[0]), (Value("l", 1.0, "l"),)):
        assert egress.admit(RESULT, outcome("regression", values=wrong)) is None


def test_the_score_of_an_event_is_a_score() -> None:
    egress = guard()
    payload = egress.admit(
        EVENT, Event(1, TS, BOOT, 1, "appear", label="face", score=123_456_789.123, reason="stopped")
    )
    assert payload is not None
    event = decode_json(Event, payload)
    assert (event.score, event.reason) == (1.0, ABSENT)


@pytest.mark.parametrize(
    "event",
    [
        Event(1, TS, BOOT, 1, "enter", label="face"),
        Event(1, TS, BOOT, 1, "appear", label="face", zone="drive"),
        Event(1, TS, BOOT, 1, "cross", label="face", direction="left"),
        Event(1, TS, BOOT, 1, "leave", label="face", direction="left"),
    ],
)
def test_an_event_names_the_place_of_its_type(event: Event) -> None:
    assert guard().admit(EVENT, event) is None


def test_only_the_begin_of_a_drift_has_a_shift() -> None:
    begin = Event(1, TS, BOOT, 1, "drift", kind="moved", since=TS, shift=(0.1, -0.0))
    end = replace(begin, type="drift_end", seq=2)
    egress = guard()
    payloads = [egress.admit(EVENT, each) for each in (begin, end)]
    assert [decode_json(Event, payload or b"").shift for payload in payloads] == [(0.1, 0.0), ABSENT]


def test_a_state_counts_in_the_order_of_labels() -> None:
    state = State(1, TS, BOOT, "faces@1.0.0", SHA[:8], counts={"mask": 2**53, "face": 1}, ids={"face": (9, 3, 9)})
    payload = guard().admit(STATE, state)
    assert payload is not None
    left = decode_json(State, payload)
    assert dumps(left.counts) == b'{"face":1,"mask":999}'
    assert left.ids == {"face": (3, 9)}


def test_a_label_that_the_pipeline_does_not_keep_stays() -> None:
    configured = plan(mqtt_plan(1883))
    egress = Egress()
    egress.apply(replace(configured, pipelines=(replace(configured.pipelines[0], labels=("mask",)),)))
    assert egress.admit(RESULT, result(1)) is None
    assert egress.admit(RESULT, result(1, label="mask"))


def test_messages_of_the_plan_before_still_pass() -> None:
    egress = guard()
    configured = plan(mqtt_plan(1883), model=model_plan(sha="ab" * 32, labels=("cat",)))
    egress.apply(configured)
    assert egress.admit(RESULT, result(1))


def test_the_object_in_which_a_result_was_found_has_one_form_too() -> None:
    configured = plan(mqtt_plan(1883), ("door", "street"))
    child = replace(configured.pipelines[0], crops=CropsPlan("street"))
    egress = Egress()
    egress.apply(replace(configured, pipelines=(child, configured.pipelines[1])))
    parent = Parent("street", "face", -0.0, (0.3, 0.1, 0.1, 0.2))
    found = sent(egress, result(1, parent=parent)).parent
    assert dumps(found) == b'{"pipeline":"street","label":"face","score":0.0,"box":[0.1001,0.1001,0.3,0.2]}'


def test_a_new_publisher_still_takes_the_results_of_the_plan_before() -> None:
    """The engine kept them while the publisher was away, and the model was switched."""
    after = guard()
    after.apply(plan(mqtt_plan(1883), model=model_plan(sha="ab" * 32)))
    assert after.admit(RESULT, result(1))
    last = Egress()
    last.learn(after.words())
    last.apply(plan(mqtt_plan(1883), model=model_plan(sha="ab" * 32)))
    assert last.admit(RESULT, result(1)) is None  # it is two plans old
