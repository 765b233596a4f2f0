from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.ssd_postprocess import SsdPostprocess
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

PICTURE = Tensor("input", 0, (1, 300, 300, 3), "uint8")
SHAPES = ((1, 4, 4), (1, 4), (1, 4), (1,))
FIRST = [f"TFLite_Detection_PostProcess{end}" for end in ("", ":1", ":2", ":3")]
SECOND = [f"StatefulPartitionedCall:{end}" for end in (3, 2, 1, 0)]
BOXES = np.array([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0.5, 0.5, 0.6, 0.7], [9, 9, 9, 9]]], np.float32)
CLASSES = np.array([[16, 0, 2, 77]], np.float32)
SCORES = np.array([[0.9, 0.3, 0.6, 0.99]], np.float32)
COUNT = np.array([3], np.float32)
RAW = (BOXES, CLASSES, SCORES, COUNT)


def layout(names: Sequence[str], order: Sequence[int] = range(4), **options: JsonValue) -> Layout:
    outputs = tuple(Tensor(names[part], part, SHAPES[part], "float32") for part in order)
    return Layout((PICTURE,), outputs, 90, 0.5, options)


@pytest.mark.parametrize("names", [FIRST, SECOND])
@pytest.mark.parametrize("order", list(permutations(range(4)))[::3])
def test_outputs_are_known_by_name_in_any_order(names: list[str], order: tuple[int, ...]) -> None:
    found = SsdPostprocess(layout(names, order))([RAW[part] for part in order])
    assert found.boxes == pytest.approx(np.array([[0.2, 0.1, 0.4, 0.3], [0.5, 0.5, 0.7, 0.6]]))
    assert found.classes.tolist() == [16, 2]
    assert found.scores == pytest.approx([0.9, 0.6])
    assert found.merged
    assert found.nonfinite == 0


def test_manifest_names_them_where_the_exporter_is_unknown() -> None:
    names = ["a", "b", "c", "d"]
    found = SsdPostprocess(layout(names, classes="b", scores="c"))(RAW)
    assert found.classes.tolist() == [16, 2]
    with pytest.raises(ModelError, match=r"b and c have the same form.*classes: NAME, scores: NAME"):
        SsdPostprocess(layout(names))
    with pytest.raises(ModelError, match="`decoder: scores` is 'x'; expected one of b, c"):
        SsdPostprocess(layout(names, classes="b", scores="x"))


def test_recognised_by_names_and_shapes() -> None:
    good = layout(FIRST)
    assert SsdPostprocess.recognise(good.inputs, good.outputs)
    assert SsdPostprocess.recognise(good.inputs, layout(["a", "b", "c", "d"]).outputs) is None
    assert SsdPostprocess.recognise(good.inputs, good.outputs[:3]) is None


def test_other_outputs_are_refused() -> None:
    with pytest.raises(ModelError, match=r"not \[1, 4, 4\], \[1, 4\]"):
        SsdPostprocess(Layout((PICTURE,), layout(FIRST).outputs[:2], 90, 0.5))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    classes, scores = CLASSES.copy(), SCORES.copy()
    scores[0, 0], classes[0, 2] = np.nan, np.inf
    found = SsdPostprocess(layout(FIRST))((BOXES, classes, scores, COUNT))
    assert (len(found.scores), found.nonfinite) == (0, 2)


@given(*[npst.arrays(np.float32, shape) for shape in SHAPES])
def test_anything_gives_sound_boxes(
    boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, count: np.ndarray
) -> None:
    found = SsdPostprocess(layout(FIRST))((boxes, classes, scores, count))
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
