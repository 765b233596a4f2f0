"""Results of a delegate that are nearly all right can be wrong in all that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from edge_infer.models.trials.delegation import _compare, _compare_findings
from edge_infer.models.trials.golden import GoldenFinding

CLASSES = Tensor(0, "classes", (1, 1001), "float32")


def classes(best: int, score: float) -> NDArray[Any]:
    """Two pictures: scores near 0, and one high."""
    found = np.full((2, 1, 1001), 1e-4, np.float32)
    found[:, 0, best] = score
    return found


def found(label: str, score: float, left: float = 0.1) -> GoldenFinding:
    return GoldenFinding(label, (left, 0.1, left + 0.3, 0.4), score)


@pytest.mark.parametrize(
    ("output", "expected", "wrong"),
    [
        (CLASSES, classes(934, 0.973), classes(783, 0.066)),
        (CLASSES, classes(934, 0.973), classes(934, 0.5)),
    ],
    ids=["another class", "half as sure"],
)
def test_few_wrong_values_are_all_that_counts(output: Tensor, expected: NDArray[Any], wrong: NDArray[Any]) -> None:
    with pytest.raises(ModelError, match=r"of \d+ that stand out in"):
        _compare(output, expected, wrong)
    rounded = expected + np.random.default_rng(2).normal(0, 0.004, expected.shape).astype(np.float32)
    _compare(output, expected, rounded)


@pytest.mark.parametrize(
    ("delegate", "good"),
    [
        ([found("dog", 0.85), found("cat", 0.7, 0.5)], True),
        ([found("cat", 0.75, 0.52), found("dog", 0.95)], True),
        ([found("dog", 0.9), found("cat", 0.8, 0.5), found("hat", 0.55)], True),
        ([], False),
        ([found("dog", 0.9)], False),
        ([found("dog", 0.9), found("dog", 0.8, 0.5)], False),
        ([found("dog", 0.9), found("cat", 0.8, 0.9)], False),
        ([found("dog", 0.9), found("cat", 0.8, 0.5), found("hat", 0.9)], False),
    ],
)
def test_what_is_found_has_to_be_found_by_both(delegate: list[GoldenFinding], good: bool) -> None:
    processor = [[found("dog", 0.9), found("cat", 0.8, 0.5)]]
    if good:
        _compare_findings(processor, [delegate], 0.5)
    else:
        with pytest.raises(ModelError, match="both found only"):
            _compare_findings(processor, [delegate], 0.5)
