"""The tally of boxes has the figures of the COCO evaluation, and counts right, wrong and confused boxes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from edge_infer.evaluate.average_precision import average_precision, curve
from edge_infer.evaluate.detection_tally import DetectionTally
from edge_infer.evaluate.matching import FoundBoxes, TrueBoxes, overlaps
from edge_infer.evaluate.scores import NOTHING, TaskScores, Wish
from tests.evaluate.referee import Scene, random_scene, reference


def tally_of(scene: Scene, threshold: float = 0.5) -> DetectionTally:
    tally = DetectionTally([f"class{kind}" for kind in range(scene.classes)], threshold)
    for found, true in scene.pictures:
        tally.add(found, true)
    return tally


@pytest.mark.parametrize("seed", range(12))
def test_the_figures_are_those_of_pycocotools(seed: int) -> None:
    scene = random_scene(seed)
    scores, expected = tally_of(scene).scores(0.5, ()), reference(scene)
    found = {key: scores.figures[key] for key in ("map50_95", "map50", "map75")}
    found |= {each.size: each.map50_95 for each in scores.sizes}
    assert found == {key: pytest.approx(value, abs=1e-9) for key, value in expected.items()}


def test_more_than_a_hundred_boxes_of_a_class_are_cut_as_pycocotools_does() -> None:
    random = np.random.default_rng(1)
    true = boxes([(x * 30, y * 30, x * 30 + 20, y * 30 + 20) for x in range(12) for y in range(12)])
    found = FoundBoxes(true.boxes + random.normal(0, 2, (144, 4)), true.classes, np.round(random.random(144), 6))
    scene = Scene(1, [(found, true)])
    assert tally_of(scene).scores(0.5, ()).figures["map50"] == pytest.approx(reference(scene)["map50"], abs=1e-9)


def boxes(corners: list[tuple[float, float, float, float]], kinds: list[int] | None = None) -> TrueBoxes:
    table = np.array(corners, np.float64).reshape(-1, 4)
    areas = (table[:, 2:] - table[:, :2]).prod(axis=1)
    return TrueBoxes(table, np.array(kinds or [0] * len(table), np.int64), areas, np.zeros(len(table), np.bool_))


def found_boxes(*rows: tuple[float, int, tuple[float, float, float, float]]) -> FoundBoxes:
    table = np.array([box for _, _, box in rows], np.float64).reshape(-1, 4)
    scores = np.array([score for score, _, _ in rows], np.float64)
    return FoundBoxes(table, np.array([kind for _, kind, _ in rows], np.int64), scores)


A, B, C = (0.0, 0.0, 10.0, 10.0), (100.0, 0.0, 150.0, 50.0), (0.0, 200.0, 200.0, 400.0)


def test_what_is_wrong_in_a_picture_at_the_threshold() -> None:
    tally = DetectionTally(["cat", "dog"], 0.5)
    found = found_boxes((0.9, 0, A), (0.8, 1, B), (0.7, 0, (300, 300, 310, 310)), (0.4, 0, C))
    mistakes = tally.add(found, boxes([A, B, C], [0, 0, 0]))
    assert (mistakes.missed, mistakes.alarms, mistakes.confused) == ((2,), (2,), ((1, 1),))
    scores = tally.scores(0.5, ())
    assert {(each.true, each.found): each.count for each in scores.confusion} == {
        ("cat", "cat"): 1, ("cat", "dog"): 1, ("cat", NOTHING): 1, (NOTHING, "cat"): 1,
    }  # fmt: skip
    cat = scores.classes[0]
    assert (cat.label, cat.count, cat.found, cat.precision, cat.recall) == ("cat", 3, 2, 0.5, pytest.approx(1 / 3))
    assert scores.figures["precision"] == pytest.approx(1 / 3)
    assert [(each.size, each.count, each.recall) for each in scores.sizes] == [
        ("small", 1, 1.0), ("medium", 1, 0.0), ("large", 1, 0.0),
    ]  # fmt: skip


def test_thresholds_for_a_wished_precision_and_recall_hold_on_the_same_boxes() -> None:
    scene = random_scene(3, 60)
    wishes = [Wish("precision", 0.3), Wish("recall", 0.5)]
    tally = tally_of(scene)
    granted = {(each.kind, each.label): each.point for each in tally.scores(0.5, wishes).granted}
    for wish in wishes:
        for label in ("", "class0", "class2"):
            point = granted[wish.kind, label]
            assert point is not None
            assert getattr(point, wish.kind) >= wish.least
            again = tally.scores(point.threshold, ())
            same = again.figures if not label else {
                "precision": at(again, label).precision, "recall": at(again, label).recall
            }  # fmt: skip
            assert same["precision"] == pytest.approx(point.precision)
            assert same["recall"] == pytest.approx(point.recall)
    assert all(each.point is None for each in tally.scores(0.5, [Wish("recall", 1.0)]).granted if each.kind == "recall")


def at(scores: TaskScores, label: str) -> Any:
    return next(each for each in scores.classes if each.label == label)


def test_nothing_labelled_and_nothing_found_are_no_error() -> None:
    tally = DetectionTally(["cat"], 0.5)
    empty = found_boxes()
    tally.add(empty, boxes([]))
    scores = tally.scores(0.5, [Wish("precision", 0.9)])
    assert set(scores.figures.values()) == {None}
    assert [each.point for each in scores.granted] == [None, None]
    tally.add(found_boxes((0.9, 0, A)), boxes([]))
    assert tally.scores(0.5, ()).figures["precision"] == 0.0
    assert tally.scores(0.5, ()).figures["map50"] is None


# Samples of rafaelpadilla/Object-Detection-Metrics (MIT), samples/sample_2: x, y, width, height; its answers are known.
LABELLED = {
    1: [(25, 16, 38, 56), (129, 123, 41, 62)], 2: [(123, 11, 43, 55), (38, 132, 59, 45)],
    3: [(16, 14, 35, 48), (123, 30, 49, 44), (99, 139, 47, 47)], 4: [(53, 42, 40, 52), (154, 43, 31, 34)],
    5: [(59, 31, 44, 51), (48, 128, 34, 52)], 6: [(36, 89, 52, 76), (62, 58, 44, 67)],
    7: [(28, 31, 55, 63), (58, 67, 50, 58)],
}  # fmt: skip
FOUND = {
    1: [(.88, 5, 67, 31, 48), (.70, 119, 111, 40, 67), (.80, 124, 9, 49, 67)],
    2: [(.71, 64, 111, 64, 58), (.54, 26, 140, 60, 47), (.74, 19, 18, 43, 35)],
    3: [(.18, 109, 15, 77, 39), (.67, 86, 63, 46, 45), (.38, 160, 62, 36, 53), (.91, 105, 131, 47, 47),
        (.44, 18, 148, 40, 44)],
    4: [(.35, 83, 28, 28, 26), (.78, 28, 68, 42, 67), (.45, 87, 89, 25, 39), (.14, 10, 155, 60, 26)],
    5: [(.62, 50, 38, 28, 46), (.44, 95, 11, 53, 28), (.95, 29, 131, 72, 29), (.23, 29, 163, 72, 29)],
    6: [(.45, 43, 48, 74, 38), (.84, 17, 155, 29, 35), (.43, 95, 110, 25, 42)],
    7: [(.48, 16, 20, 101, 88), (.95, 33, 116, 37, 49)],
}  # fmt: skip


def test_a_sample_with_a_known_answer() -> None:
    """Its yardstick is an IoU of 0.3, and like Pascal VOC it counts the last pixel of a box in."""
    rows: list[tuple[float, bool]] = []
    for picture, found in FOUND.items():
        true = np.array([(x, y, x + w + 1, y + h + 1) for x, y, w, h in LABELLED[picture]], np.float64)
        taken: set[int] = set()
        for score, x, y, w, h in sorted(found, reverse=True):
            ious = overlaps(np.array([(x, y, x + w + 1, y + h + 1)], np.float64), true, np.zeros(len(true), np.bool_))
            best = int(ious[0].argmax())
            hit = ious[0, best] >= 0.3 and best not in taken
            taken |= {best} if hit else set()
            rows.append((score, bool(hit)))
    right = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
    recall, precision = curve(right.astype(float), (~right).astype(float), 15.0)
    assert 100 * average_precision(recall, precision, "all") == pytest.approx(24.56, abs=0.01)
    assert 100 * average_precision(recall, precision, "eleven") == pytest.approx(26.84, abs=0.01)


def test_a_picture_takes_some_hundred_bytes() -> None:
    """So that 100,000 of them fit a small board."""
    pictures = random_scene(5, 500).pictures
    tally = DetectionTally(["class0", "class1", "class2"], 0.5)
    for found, true in pictures:
        tally.add(found, true)
    tracemalloc.start()
    for found, true in pictures:
        tally.add(found, true)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tally.examples == 1000
    assert grown / 500 < 1000
