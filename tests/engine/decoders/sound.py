"""What every decoder of detectors promises, whatever the tensors hold; and plain boxes to compare with."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Boxes

Plain = list[tuple[int, float, tuple[float, float, float, float]]]
"""Class id, score and box of each candidate."""


def picture(width: int, height: int, dtype: str = "uint8") -> Tensor:
    return Tensor("input", 0, (1, height, width, 3), dtype)


def floats(*shape: int) -> st.SearchStrategy[NDArray[np.float32]]:
    """Any numbers at all: NaN, infinity, the largest and the smallest."""
    some = st.one_of(st.floats(width=32), st.floats(0, 1, width=32))
    return npst.arrays(np.float32, shape, elements=some, fill=some)


def check_sound(found: Boxes, classes: int) -> None:
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.classes >= 0) & (found.classes < classes)).all()
    assert len(found.boxes) == len(found.scores) == len(found.classes)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
    assert found.nonfinite >= 0


def check_same(found: Boxes, wanted: Plain) -> None:
    """The same candidates in the same order, within float32."""
    assert found.classes.tolist() == [class_id for class_id, _, _ in wanted]
    np.testing.assert_allclose(found.scores, [score for _, score, _ in wanted], rtol=1e-4, atol=1e-5)
    boxes = np.array([box for _, _, box in wanted]).reshape(-1, 4)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-4, atol=1e-4)
    assert found.nonfinite == 0


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def quantize(real: NDArray[np.float64], tensor: Tensor) -> NDArray[np.integer]:
    limits = np.iinfo(tensor.dtype)
    return np.rint(real / tensor.scale[0] + tensor.zero_point[0]).clip(limits.min, limits.max).astype(tensor.dtype)
