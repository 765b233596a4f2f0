"""Intervals hold what they promise, and the verdict on two models is careful."""

from __future__ import annotations

import numpy as np
import pytest

from edge_infer.evaluate.bootstrap import (
    MIN_ROUNDS,
    ROUNDS,
    Figures,
    could_be_chance,
    differences,
    intervals,
    rounds_for,
)
from edge_infer.evaluate.class_tally import BestClass, ClassTally
from edge_infer.evaluate.matching import Floats


def share_of(right: Floats) -> Figures:
    return lambda weights: np.array([(weights * right).sum() / weights.sum()])


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        right = (random.random(150) < 0.8).astype(float)
        found = intervals(share_of(right), 150, 1)[0]
        inside += found.low <= 0.8 <= found.high
    assert 180 <= inside <= 198  # 95 of 100, and what chance does to 200 rounds


def test_the_same_data_give_the_same_interval() -> None:
    right = (np.arange(50) % 3 > 0).astype(float)
    assert intervals(share_of(right), 50, 1) == intervals(share_of(right), 50, 1)


def test_a_known_difference_is_found_with_its_size() -> None:
    """1,000 inputs: the second model is wrong on 50 more of them."""
    first, second = np.ones(1000), np.ones(1000)
    first[:100], second[50:200] = 0.0, 0.0
    found = differences(share_of(first), share_of(second), 1000, 1)[0]
    assert (found.verdict, found.value) == ("worse", pytest.approx(-0.05))
    assert -0.08 < found.interval.low < -0.05 < found.interval.high < -0.02
    assert differences(share_of(second), share_of(first), 1000, 1)[0].verdict == "better"
    assert differences(share_of(first), share_of(second), 1000, 1, more_is_better=False)[0].verdict == "better"


def test_few_examples_have_no_interval() -> None:
    """Nine right answers of nine, and one of one, would give an interval without any width."""
    assert not np.isfinite(intervals(share_of(np.ones(9)), 9, 1)[0].low)
    found = differences(share_of(np.zeros(9)), share_of(np.ones(9)), 9, 1)[0]
    assert (found.verdict, found.value) == ("unclear", 1.0)
    assert differences(share_of(np.zeros(10)), share_of(np.ones(10)), 10, 1)[0].verdict == "better"


def test_a_model_against_itself_cannot_be_told() -> None:
    right = (np.arange(400) % 7 > 0).astype(float)
    found = differences(share_of(right), share_of(right), 400, 1)[0]
    assert (found.verdict, found.value, found.interval.low, found.interval.high) == ("unclear", 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first_only", "second_only", "chance"),
    [(0, 0, True), (5, 0, True), (6, 0, False), (7, 1, True), (10, 2, False), (0, 6, False), (600, 500, False),
     (560, 520, True)],
)  # fmt: skip
def test_few_inputs_are_judged_by_an_exact_test(first_only: int, second_only: int, *, chance: bool) -> None:
    """McNemar's test: 5 of 5 has a probability of 2 / 32, 6 of 6 of 2 / 64."""
    assert could_be_chance(first_only, second_only) is chance


def test_rounds_are_bounded_by_the_work() -> None:
    assert [rounds_for(work) for work in (1, 200_000, 10**9)] == [ROUNDS, 500, MIN_ROUNDS]


def tally_of(rows: list[tuple[int, int, float]]) -> ClassTally:
    tally = ClassTally(["a", "b"], ["a", "b", "c"], 0.5)
    for true, found, score in rows:
        tally.add(true, BestClass(found, score, 0 if true == found else 5))
    return tally


def test_the_figures_of_a_classifier() -> None:
    scores = tally_of([(0, 0, 0.9), (0, 1, 0.8), (0, -3, 0.7), (1, 1, 0.6), (1, 1, 0.4)]).scores(0.5, ())
    assert scores.figures == {
        "accuracy": pytest.approx(0.6), "balanced_accuracy": pytest.approx((1 / 3 + 1) / 2),
        "top5": pytest.approx(0.6), "precision": 0.5, "recall": pytest.approx(0.4),
    }  # fmt: skip
    assert [(each.label, each.count, each.found, each.precision, each.recall) for each in scores.classes] == [
        ("a", 3, 1, 1.0, pytest.approx(1 / 3)), ("b", 2, 2, 0.5, 0.5),
    ]  # fmt: skip
    confusion = {(each.true, each.found): each.count for each in scores.confusion}
    assert confusion == {("a", "a"): 1, ("a", "b"): 1, ("a", "c"): 1, ("b", "b"): 1, ("b", "nothing"): 1}


def test_the_expected_calibration_error() -> None:
    """Ten answers with 0.85, of which six are right, and ten with 0.35, of which all are wrong."""
    rows = [(0, 0 if number < 6 else 1, 0.85) for number in range(10)] + [(0, 1, 0.35)] * 10
    found = tally_of(rows).scores(0.5, ()).calibration
    assert found is not None
    assert found.error == pytest.approx(0.5 * 0.25 + 0.5 * 0.35)
    assert [(each.low, each.count, each.right) for each in found.bins] == [(0.3, 10, 0.0), (0.8, 10, 0.6)]
