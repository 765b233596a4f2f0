from __future__ import annotations

import logging

import numpy as np
import pytest

from edge_infer.engine.records import Boxes, Classes, Regions
from edge_infer.engine.tasks import TaskOf, task_class
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.filtering import LabelFilter
from edge_infer.errors import ModelError
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import PipelinePlan
from tests.engine.plans import pipeline

LETTERBOX = Transform.fit((200, 100), (100, 100), "letterbox")
STRETCH = Transform.fit((200, 100), (100, 100), "stretch")


def boxes(*rows: tuple[float, float, float, float, float, int], merged: bool = False, nonfinite: int = 0) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int32), merged, nonfinite)


def made(plan: PipelinePlan) -> TaskOf:
    return task_class(plan.model.task)(plan)


def found(post: TaskOf, candidates: Boxes, transform: Transform = STRETCH) -> list[tuple[str, float]]:
    findings = post(candidates, transform, 0.0)
    assert isinstance(findings, Detections)
    return [(item.label, round(item.score, 3)) for item in findings.objects]


def test_best_first_without_overlaps_of_one_class() -> None:
    candidates = boxes(
        (0.1, 0.1, 0.5, 0.5, 0.6, 0), (0.1, 0.1, 0.5, 0.52, 0.9, 0), (0.1, 0.1, 0.5, 0.5, 0.7, 1), (0, 0, 1, 1, 0.4, 2)
    )
    assert found(made(pipeline()), candidates) == [("cat", 0.9), ("dog", 0.7)]


def test_what_the_model_merged_is_not_merged_again() -> None:
    candidates = boxes((0.1, 0.1, 0.5, 0.5, 0.6, 0), (0.1, 0.1, 0.5, 0.52, 0.9, 0), merged=True)
    assert found(made(pipeline()), candidates) == [("cat", 0.9), ("cat", 0.6)]


def test_only_wanted_labels_even_if_two_classes_share_one() -> None:
    candidates = boxes((0, 0, 0.2, 0.2, 0.9, 0), (0.5, 0.5, 0.6, 0.6, 0.8, 1), (0.7, 0.7, 0.9, 0.9, 0.7, 2))
    plan = pipeline(labels=("dog",))
    assert found(made(plan), candidates) == [("dog", 0.8)]
    shared = pipeline(names=("dog", "cat", "dog"), labels=("dog",))
    assert found(made(shared), candidates) == [("dog", 0.9), ("dog", 0.7)]


def classes(plan: PipelinePlan, *scores: float) -> ClassificationFindings:
    findings = made(plan)(Classes(np.array(scores, np.float32)), STRETCH, 0.0)  # type: ignore[arg-type]
    assert isinstance(findings, ClassificationFindings)
    return findings


def test_of_many_classes_the_best_are_taken_in_the_order_of_their_ids() -> None:
    names = tuple(f"class {number}" for number in range(300))
    plan = pipeline("classification", names=names, threshold=0.0, top_k=5)
    scores = np.random.default_rng(0).integers(0, 20, 300) / 20  # as 8-bit models give them: many are equal
    expected = sorted(range(300), key=lambda number: (-scores[number], number))
    findings = classes(plan, *scores)
    assert [item.class_id for item in findings.classes] == expected[:5]
    assert list(findings.near) == [names[number] for number in expected[5:105]]
    assert list(findings.scores.values()) == [pytest.approx(scores[number]) for number in expected[:105]]


def test_a_label_of_several_classes_has_the_score_of_the_best() -> None:
    findings = classes(pipeline("classification", names=("dog", "cat", "dog"), threshold=0.5), 0.9, 0.6, 0.48)
    assert findings.scores == {"dog": pytest.approx(0.9), "cat": pytest.approx(0.6)}


def test_labels_that_are_not_wanted_are_known_with_their_best_score() -> None:
    rows = boxes((0, 0, 9, 9, 0.9, 0), (20, 0, 29, 9, 0.6, 1), (40, 0, 49, 9, 0.8, 1), (0, 20, 9, 29, 0.4, 2))
    for plan, left_out in ((pipeline(labels=("cat",)), (("dog", pytest.approx(0.8)),)), (pipeline(), ())):
        findings = made(plan)(rows, STRETCH, 0.0)
        assert isinstance(findings, Detections)
        assert findings.left_out == left_out


def test_boxes_come_back_in_pixels_of_the_source_and_bars_are_nowhere() -> None:
    candidates = boxes((0.25, 0.25, 0.75, 0.75, 0.9, 0), (0.1, 0.0, 0.3, 0.2, 0.8, 1))
    findings = made(pipeline())(candidates, LETTERBOX, 0.0)
    assert isinstance(findings, Detections)
    assert [item.label for item in findings.objects] == ["cat"], "the second box lies in the bar"
    assert findings.objects[0].box == pytest.approx((50, 0, 150, 100))
    assert findings.source == (200, 100)


def test_classes_without_a_label_are_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    post = made(pipeline())
    candidates = boxes((0, 0, 0.5, 0.5, 0.9, 7), (0, 0, 0.5, 0.5, 0.8, 1))
    with caplog.at_level(logging.WARNING):
        assert found(post, candidates) == [("dog", 0.8)]
        assert found(post, candidates) == [("dog", 0.8)]
    assert len(caplog.records) == 1
    assert "pipeline door: the model returned class 7, but has only 3 labels, counted from 0" in caplog.text


def test_outputs_that_are_no_numbers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    post = made(pipeline())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            found(post, boxes((0, 0, 1, 1, 0.9, 0), nonfinite=4))
    assert len(caplog.records) == 1
    assert "4 outputs of the model are not finite" in caplog.text


def test_classification_is_cut_to_the_best() -> None:
    post = made(pipeline("classification", threshold=0.1, top_k=2))
    findings = post(Classes(np.array([0.2, 0.05, 0.75], np.float32)), STRETCH, 0.0)
    assert isinstance(findings, ClassificationFindings)
    assert [(item.label, item.class_id) for item in findings.classes] == [("face", 2), ("cat", 0)]
    nothing = made(pipeline("classification"))(Classes(np.zeros(3, np.float32)), STRETCH, 0.0)
    assert nothing == ClassificationFindings(())


def test_nothing_found() -> None:
    assert made(pipeline())(boxes(), STRETCH, 0.0) == Detections((), (200, 100))


@pytest.mark.parametrize(
    ("candidates", "says"),
    [
        (boxes(nonfinite=3), False),
        (boxes((0, 0, 1, 1, 0.9, 0), nonfinite=3), True),
        (boxes(), True),
        (Classes(np.zeros(3, np.float32), 3), False),
        (Classes(np.array([0.1, 0, 0], np.float32)), True),
        (Classes(np.zeros(3, np.float32)), True),
        (Regions(np.full((2, 2), -1, np.int32), 3), False),
        (Regions(np.array([[-1, -1], [-1, 0]], np.int32), 3), True),
    ],
)
def test_outputs_that_are_no_numbers_are_not_an_empty_scene(candidates: Boxes | Classes | Regions, says: bool) -> None:
    filtered = LabelFilter(pipeline())
    if says:
        filtered.check_finite(candidates)
    else:
        with pytest.raises(ModelError, match="3 of its outputs are not finite"):
            filtered.check_finite(candidates)
