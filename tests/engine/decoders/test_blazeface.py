from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

PARTS = ((1, 512, 1), (1, 384, 1), (1, 512, 16), (1, 384, 16))


def picture(size: int) -> Tensor:
    return Tensor("input", 0, (1, size, size, 3), "float32")


def decoder(size: int, *shapes: tuple[int, ...], threshold: float = 0.5) -> BlazeFace:
    outputs = tuple(Tensor(f"out{index}", index, shape, "float32") for index, shape in enumerate(shapes))
    return BlazeFace(Layout((picture(size),), outputs, 1, threshold))


def test_full_range_has_one_anchor_at_the_centre_of_each_cell() -> None:
    regressions, logits = np.zeros((1, 2304, 16), np.float32), np.full((1, 2304, 1), -9, np.float32)
    row, column = 10, 20
    index = row * 48 + column
    regressions[0, index, :4] = (4, -8, 48, 96)
    logits[0, index] = np.log(3.0)
    found = decoder(192, (1, 2304, 16), (1, 2304, 1))([regressions, logits])
    x, y = (20.5 / 48) + 4 / 192, (10.5 / 48) - 8 / 192
    assert found.boxes == pytest.approx(np.array([[x - 0.125, y - 0.25, x + 0.125, y + 0.25]]), abs=1e-6)
    assert found.scores == pytest.approx([0.75])
    assert found.classes.tolist() == [0]


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_short_range_in_parts_of_any_order(order: tuple[int, ...]) -> None:
    raw = [np.zeros(shape, np.float32) for shape in PARTS]
    raw[0][:], raw[1][:] = -9, -9
    raw[0][0, 2 * (3 * 16 + 5) + 1] = 5  # row 3, column 5 of 16, second anchor
    raw[1][0, 6 * (1 * 8 + 7)] = 4  # row 1, column 7 of 8, first anchor
    for part in (2, 3):
        raw[part][0, :, 2:4] = 12.8
    found = decoder(128, *[PARTS[part] for part in order])([raw[part] for part in order])
    centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert centers == pytest.approx(np.array([[5.5 / 16, 3.5 / 16], [7.5 / 8, 1.5 / 8]]), abs=1e-6)
    assert found.boxes[:, 2:] - found.boxes[:, :2] == pytest.approx(np.full((2, 2), 0.1), abs=1e-6)


def test_one_head_and_parts_are_the_same() -> None:
    random = np.random.default_rng(2)
    raw = [random.normal(0, 3, shape).astype(np.float32) for shape in PARTS]
    parts = decoder(128, *PARTS)(raw)
    joined = [np.concatenate((raw[2], raw[3]), axis=1), np.concatenate((raw[0], raw[1]), axis=1)]
    whole = decoder(128, (1, 896, 16), (1, 896, 1))(joined)
    assert len(whole.scores) > 100
    assert (whole.boxes == parts.boxes).all()
    assert (whole.scores == parts.scores).all()


def test_quantized_scores_are_compared_as_they_are_stored() -> None:
    scores = Tensor("scores", 0, (1, 2304, 1), "int8", (0.08,), (88,))
    boxes = Tensor("boxes", 1, (1, 2304, 16), "int8", (0.75,), (-41,))
    decode = BlazeFace(Layout((picture(192),), (scores, boxes), 1, 0.5))
    raw = np.full((1, 2304, 1), -100, np.int8)
    raw[0, 7], raw[0, 9], raw[0, 11] = 88, 87, 120  # exactly 0.5, just below, above
    sizes = np.full((1, 2304, 16), 0, np.int8)
    found = decode([raw, sizes])
    assert found.scores == pytest.approx([0.5, 1 / (1 + np.exp(-0.08 * 32))])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_extreme_thresholds(threshold: float) -> None:
    regressions, logits = np.ones((1, 2304, 16), np.float32), np.zeros((1, 2304, 1), np.float32)
    found = decoder(192, (1, 2304, 16), (1, 2304, 1), threshold=threshold)([regressions, logits])
    assert len(found.scores) == (2304 if threshold == 0.0 else 0)


def test_recognised_by_shapes_alone() -> None:
    def outputs(*shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
        return tuple(Tensor("o", index, shape, "float32") for index, shape in enumerate(shapes))

    assert BlazeFace.recognise((picture(128),), outputs(*PARTS))
    assert BlazeFace.recognise((picture(192),), outputs((1, 2304, 1), (1, 2304, 16)))
    assert BlazeFace.recognise((picture(192),), outputs((1, 2016, 1), (1, 2016, 18))) is None
    assert BlazeFace.recognise((picture(192),), outputs((1, 2304, 16))) is None
    with pytest.raises(ModelError, match=r"not \[1, 10, 4\]"):
        decoder(192, (1, 10, 4))


@given(
    npst.arrays(np.float32, (1, 2304, 16), elements=st.floats(width=32), fill=st.floats(width=32)),
    npst.arrays(np.float32, (1, 2304, 1), elements=st.floats(width=32), fill=st.floats(width=32)),
)
def test_any_floats_give_sound_boxes(regressions: np.ndarray, logits: np.ndarray) -> None:
    found = decoder(192, (1, 2304, 16), (1, 2304, 1))([regressions, logits])
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0.5) & (found.scores <= 1)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert len(found.scores) + found.nonfinite <= 2304
