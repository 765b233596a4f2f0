from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import ABSENT, decode_json, dumps, encode, loads, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, Result, State, Task
from edge_infer.engine.cascade.sighting import Sighted
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.output.outcome import Composer, Outcome
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame
from edge_infer.plan.outcome_limits import MARKS
from edge_infer.plan.records import TrackPlan, ZonePlan
from tests.engine.plans import pipeline

FRAME = Frame(np.zeros((100, 200, 3), np.uint8), "bgr", 1_700_000_000.25, 50.0, 1)

AREA = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


def outcome(findings: Findings, task: Task = "detection", max_payload: int = 1024) -> Outcome:
    return Composer(pipeline(task, max_payload=max_payload), "9f2c1a")(findings, FRAME, 50.0123)


def objects(*labels: str) -> Detections:
    return Detections(
        tuple(Detection(label, 0, 0.9 - index / 100, (1, 2, 3.3, 4)) for index, label in enumerate(labels)), (200, 100)
    )


def test_detection_in_fractions_and_rounded() -> None:
    found = Detections((Detection("cat", 0, 0.91449, (20.123456, 0, 200, 50)),), (200, 100))
    assert loads(dumps(outcome(found).result(7))) == {
        "v": 1, "ts": "2023-11-14T22:13:20.250Z", "boot": "9f2c1a", "seq": 7, "model": "pets@1.0.0", "sha": "abababab",
        "task": "detection", "ms": 12.3, "objects": [{"label": "cat", "score": 0.914, "box": [0.1006, 0.0, 1.0, 0.5]}],
    }  # fmt: skip


def test_classification() -> None:
    result = outcome(ClassificationFindings((Scored("dog", 1, 0.7), Scored("cat", 0, 0.2))), "classification").result(1)
    assert encode(result.classes) == [{"label": "dog", "score": 0.7}, {"label": "cat", "score": 0.2}]
    assert result.objects is ABSENT
    assert result.more is ABSENT


def test_state_counts_by_label_sorted_by_name() -> None:
    made = outcome(objects("dog", "cat", "dog"))
    assert made.essence == (("cat", 1), ("dog", 2))
    assert encode(made.state()) == {
        "v": 1, "ts": "2023-11-14T22:13:20.250Z", "boot": "9f2c1a", "model": "pets@1.0.0", "sha": "abababab",
        "counts": {"cat": 1, "dog": 2},
    }  # fmt: skip
    assert list(made.state().counts or ()) == ["cat", "dog"]
    assert outcome(objects()).state().counts == {}
    assert outcome(objects()).essence == ()


def test_state_of_a_classification_is_the_best_class_or_null() -> None:
    best = outcome(ClassificationFindings((Scored("dog", 1, 0.7),)), "classification")
    assert (best.essence, best.state().class_) == ("dog", "dog")
    nothing = outcome(ClassificationFindings(()), "classification")
    assert (nothing.essence, nothing.state().class_) == (None, None)
    assert '"class":null' in dumps(nothing.state()).decode()


@pytest.mark.parametrize(("task", "key"), [("detection", "counts"), ("classification", "class")])
def test_nothing_is_known(task: Task, key: str) -> None:
    state = encode(Composer(pipeline(task), "9f2c1a").nothing("source_lost"))
    assert isinstance(state, dict)
    assert (state[key], state["reason"]) == (None, "source_lost")


def test_what_does_not_fit_is_cut_from_the_lowest_score_and_counted() -> None:
    made = outcome(objects(*["cat"] * 40))
    result = made.result(1)
    assert isinstance(result.objects, tuple)
    assert len(result.objects) + (result.more if isinstance(result.more, int) else 0) == 40
    assert result.objects[0].score == 0.9
    size = len(dumps(result))
    one_more = len(dumps(result.objects[0])) + 1
    assert size + MARKS <= 1024 < size + MARKS + one_more
    assert made.state().counts == {"cat": 40}, "the state counts what the result had no room for"


LABELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)


@given(st.lists(LABELS, max_size=60), st.integers(400, 2000), st.integers(1, 2**40))
def test_payloads_keep_to_the_limit_and_the_schema(labels: list[str], most: int, seq: int) -> None:
    made = outcome(objects(*labels), max_payload=most)
    result = made.result(seq)
    payload = dumps(result)
    assert len(payload) + MARKS <= most
    assert decode_json(Result, payload) == result
    assert isinstance(result.objects, tuple)
    assert len(result.objects) + (0 if result.more is ABSENT else result.more) == len(labels)  # type: ignore[operator]
    state = dumps(made.state())
    assert len(state) + MARKS <= MAX_MESSAGE_BYTES
    assert decode_json(State, state) == made.state()


@pytest.mark.parametrize("most", range(560, 820, 20))
@pytest.mark.parametrize("count", range(5))
def test_what_a_result_is_about_counts_too(count: int, most: int) -> None:
    whom = Sighted(
        "p" * 64, Detection("c" * 128, 0, 0.123, (1.11, 2.22, 3.33, 4.44), number=2**53), (190, 90), 2**53, 0
    )
    frame = replace(FRAME, parent=whom)
    made = Composer(pipeline(max_payload=most), "9f2c1a")(objects(*["cat"] * count), frame, 50.0123).result(2**53)
    assert len(dumps(made)) + MARKS <= most
    assert isinstance(made.objects, tuple)
    assert len(made.objects) + (0 if made.more is ABSENT else made.more) == count  # type: ignore[operator]


@given(st.lists(st.tuples(*[st.floats(-10, 300)] * 4), max_size=10))
def test_fractions_are_fractions(boxes: list[tuple[float, float, float, float]]) -> None:
    found = Detections(tuple(Detection("cat", 0, 0.5, box) for box in boxes), (200, 100))
    result = outcome(found, max_payload=5000).result(1)
    assert isinstance(result.objects, tuple)
    assert all(0 <= side <= 1 and side == round(side, 4) for item in result.objects for side in item.box)


def test_labels_of_the_configuration_are_there_with_zero_and_so_are_those_of_zones() -> None:
    """A gauge on `counts.cat` has a number to show, and not nothing at all."""
    areas = (ZonePlan("drive", AREA), ZonePlan("gate", AREA, ("dog",)))
    plan = pipeline(labels=("dog", "cat"), track=TrackPlan(), zones=areas)
    composer = Composer(plan, "9f2c1a")
    nobody = Followed(objects(), (), (("drive", ()), ("gate", ())), ())
    state = composer(nobody, FRAME, 50.0).state()
    assert (state.counts, state.zones) == ({"cat": 0, "dog": 0}, {"drive": {"cat": 0, "dog": 0}, "gate": {"dog": 0}})
    one = Followed(objects(), (("dog", 2),), (("drive", (("dog", 1),)), ("gate", ())), ())
    state = composer(one, FRAME, 50.0).state()
    assert (state.counts, state.zones) == ({"cat": 0, "dog": 2}, {"drive": {"cat": 0, "dog": 1}, "gate": {"dog": 0}})
    assert Composer(pipeline(labels=("cat",)), "9f2c1a")(objects(), FRAME, 50.0).state().counts == {"cat": 0}
    assert Composer(pipeline(), "9f2c1a")(objects(), FRAME, 50.0).state().counts == {}
    assert composer(nobody, FRAME, 50.0).essence == ((), (("drive", ()), ("gate", ()))), "zeros are no news"


def test_ids_stand_beside_the_counts_where_they_find_room() -> None:
    composer = Composer(pipeline(track=TrackPlan()), "9f2c1a")
    few = Followed(objects(), (("cat", 2), ("dog", 1)), (), (), ids=(("cat", (4, 9)), ("dog", (7,))))
    state = composer(few, FRAME, 50.0).state()
    assert state.ids == {"cat": (4, 9), "dog": (7,)}
    assert set(state.words()) == {"cat", "dog"}
    many = Followed(objects(), (("cat", 200),), (), (), ids=(("cat", tuple(range(100000, 100200))),))
    state = composer(many, FRAME, 50.0).state()
    assert (state.counts, state.ids, state.more) == ({"cat": 200}, ABSENT, ABSENT)


def test_state_of_many_labels_keeps_the_most_frequent() -> None:
    names = [f"class number {number}" for number in range(60)]
    state = outcome(objects(*names, *["zebra"] * 3)).state()
    assert isinstance(state.counts, dict)
    assert state.counts["zebra"] == 3
    assert state.more == 61 - len(state.counts)
    assert list(state.counts) == sorted(state.counts)
