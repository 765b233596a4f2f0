"""What the state of a cascade says: all together, and each, within its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import decode_json, dumps, encode
from edge_infer.contract.messages import Anomaly, State, Value
from edge_infer.engine.cascade.answers import Answered, Answers
from edge_infer.engine.tasks import Findings, Head
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.regression import MeasuredValue, Measurement
from edge_infer.plan.records import ValuePlan
from tests.engine.cascade.sightings import SIZE, child, classified, seen

HEAD = Head("2026-11-25T08:45:12.345Z", "9f2c1a", "masks@1.0.0", "eac9143a")


def state(*said: Findings, task: str = "classification", room: int = 1024) -> State:
    each = tuple(Answered(seen(number), one, float(number)) for number, one in enumerate(said, start=1))
    found = Answers(each, child(task).state_key).state(HEAD, room)
    assert decode_json(State, dumps(found)) == found
    return found


def test_classes_are_counted_the_best_of_each_object() -> None:
    found = state(classified("mask"), classified("none"), classified("mask"), classified(None))
    assert found.counts == {"mask": 2, "none": 1}
    assert [(each.id, each.class_) for each in found.answers or ()] == [
        (1, "mask"),
        (2, "none"),
        (3, "mask"),
        (4, None),
    ]


def test_boxes_and_bodies_are_counted() -> None:
    box = Detection("mask", 0, 0.9, (0.0, 0.0, 9.0, 9.0))
    found = state(Detections((box, box), SIZE), Detections((), SIZE), task="detection")
    assert found.counts == {"mask": 2}
    assert [each.counts for each in found.answers or ()] == [{"mask": 2}, {}]
    assert state(Poses((Body(0.9, ((1.0, 2.0, 0.5),)),), SIZE, "mask"), task="pose").counts == {"mask": 1}


def test_of_anomalies_the_worst_and_of_values_the_newest() -> None:
    found = state(Deviation(2.0, 1.0), Deviation(0.5, 1.0), task="anomaly")
    assert found.anomaly == Anomaly(2.0, 1.0, "anomalous")
    assert [each.anomaly.state for each in found.answers or () if each.anomaly] == ["anomalous", "normal"]
    values = [Measurement((MeasuredValue(ValuePlan("age", "y", step=1.0), age),)) for age in (30.0, 40.0)]
    assert state(*values, task="regression").values == (Value("age", 40.0, "y"),)


def test_nobody_is_there() -> None:
    for task, nothing in (("classification", {"counts": {}}), ("pose", {"counts": {}}), ("anomaly", {"anomaly": None})):
        said = encode(state(task=task))
        assert isinstance(said, dict)
        assert {key: said[key] for key in said.keys() & {"counts", "anomaly", "answers"}} == {**nothing, "answers": []}


@given(st.integers(0, 60), st.integers(300, 1024))
def test_what_has_no_room_is_counted(count: int, room: int) -> None:
    found = state(*(classified("mask") for _ in range(count)), room=room)
    assert len(dumps(found)) <= room
    assert len(found.answers or ()) + (found.more or 0) == count


def test_a_change_is_one_of_who_is_there_or_what_was_said() -> None:
    def essence(*said: tuple[int | None, str]) -> object:
        return Answers(tuple(Answered(seen(who), classified(what), 0.0) for who, what in said), "counts").essence

    assert essence((1, "mask"), (2, "none")) == essence((2, "none"), (1, "mask"))
    assert essence((1, "mask")) != essence((2, "mask"))
    assert essence((1, "mask")) != essence((1, "none"))
