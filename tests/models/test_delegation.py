"""Results of a delegate that are nearly all right can be wrong in all that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from edge_infer.models.trials.delegation import _compare

CLASSES = Tensor(0, "classes", (1, 1001), "float32")
BOXES = Tensor(0, "boxes", (1, 84, 8400), "float32")


def classes(best: int, score: float) -> NDArray[Any]:
    """Two pictures: scores near 0, and one high."""
    found = np.full((2, 1, 1001), 1e-4, np.float32)
    found[:, 0, best] = score
    return found


def boxes(score: float) -> NDArray[Any]:
    """Places in pixels, and scores of 80 classes, of which one has 36 boxes."""
    random = np.random.default_rng(1)
    found = np.zeros((1, 1, 84, 8400), np.float32)
    found[0, 0, :4] = random.uniform(0, 640, (4, 8400))
    found[0, 0, 4:] = random.uniform(0, 1e-3, (80, 8400))
    found[0, 0, 10, :36] = score
    return found


@pytest.mark.parametrize(
    ("output", "expected", "wrong"),
    [
        (CLASSES, classes(934, 0.973), classes(783, 0.066)),
        (CLASSES, classes(934, 0.973), classes(934, 0.5)),
        (BOXES, boxes(0.82), boxes(0.14)),
        (BOXES, boxes(0.82).swapaxes(2, 3), boxes(0.14).swapaxes(2, 3)),
    ],
    ids=["another class", "half as sure", "no box is sure", "no box is sure, a row for each box"],
)
def test_few_wrong_values_are_all_that_counts(output: Tensor, expected: NDArray[Any], wrong: NDArray[Any]) -> None:
    with pytest.raises(ModelError, match=r"of \d+ that stand out in"):
        _compare(output, expected, wrong)
    rounded = expected + np.random.default_rng(2).normal(0, 0.004, expected.shape).astype(np.float32)
    _compare(output, expected, rounded)
