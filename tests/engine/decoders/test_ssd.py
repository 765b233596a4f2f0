"""Expected values are computed by hand; real files are compared in ``tests/engine/test_agreement.py``."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.ssd import Ssd
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import check_same, check_sound, floats, picture

SCORES = np.array([[[0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0.25, 0.125, 0.625]]], np.float32)
OFFSETS = np.array([[[0.5, -0.25, 0.25, 0.0], [9, 9, -9, -9], [0.0, 0.0, 0.0, 0.5]]], np.float32)
ANCHORS = np.array([[[0.25, 0.5, 0.5, 0.75], [0, 0, 1, 1], [0.0, 0.0, 0.25, 0.5]]], np.float32)
PARTS = (SCORES, OFFSETS, ANCHORS)
WANTED = [(0, 0.7, (0.375, 0.4375, 0.5625, 0.75)), (1, 0.625, (0.0, 0.0, 0.25, 0.75))]
SAID = ("classes_softmax", "bboxes_concat", "anchors_concat")
UNSAID = ("StatefulPartitionedCall:2", "StatefulPartitionedCall:1", "StatefulPartitionedCall:0")


def layout(names: tuple[str, ...], order: tuple[int, ...] = (0, 1, 2), width: int = 3, **options: JsonValue) -> Layout:
    shapes = ((1, 3, width), (1, 3, 4), (1, 3, 4))
    outputs = tuple(Tensor(names[part], part, shapes[part], "float32") for part in order)
    return Layout((picture(96, 96),), outputs, width - 1, 0.5, options)


@pytest.mark.parametrize("names", [SAID, UNSAID])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_outputs_are_known_by_name_or_number_in_any_order(names: tuple[str, ...], order: tuple[int, ...]) -> None:
    decode = Ssd(layout(names, order))
    assert decode.classes == 2
    check_same(decode([PARTS[part] for part in order]), WANTED)


def test_the_manifest_names_them() -> None:
    decode = Ssd(layout(("a", "b", "c"), scores="a", anchors="c"))
    check_same(decode(PARTS), WANTED)
    check_same(Ssd(layout(UNSAID, anchors=UNSAID[1]))([SCORES, ANCHORS, OFFSETS]), WANTED)


def test_what_neither_name_nor_number_tells_is_refused() -> None:
    decode = Ssd(layout(UNSAID))
    with pytest.raises(
        ModelError, match=r"StatefulPartitionedCall:1 and StatefulPartitionedCall:0 .* anchors: NAME"
    ) as told:
        decode([SCORES, ANCHORS, ANCHORS])
    assert told.value.key == "decoder"
    with pytest.raises(ModelError, match="show which is which"):
        decode([SCORES, OFFSETS, OFFSETS])


def test_three_classes_and_a_background_look_like_boxes() -> None:
    scores = np.concatenate((SCORES, np.zeros((1, 3, 1), np.float32)), axis=2)
    decode = Ssd(layout(SAID, width=4))
    assert decode.classes == 3
    check_same(decode([scores, OFFSETS, ANCHORS]), WANTED)
    with pytest.raises(ModelError, match="scores: NAME, anchors: NAME"):
        Ssd(layout(UNSAID, width=4))
    check_same(Ssd(layout(UNSAID, width=4, scores=UNSAID[0]))([scores, OFFSETS, ANCHORS]), WANTED)


def test_wrong_manifests_are_told_what_is_right() -> None:
    with pytest.raises(ModelError, match="has the unknown parameter 'ancors'; known for ssd: anchors, scores"):
        Ssd(layout(SAID, ancors="c"))
    with pytest.raises(ModelError, match="`decoder: anchors` is 'x'; expected one of classes_softmax, bboxes_concat"):
        Ssd(layout(SAID, anchors="x"))
    with pytest.raises(ModelError, match="expected bboxes_concat or anchors_concat"):
        Ssd(layout(SAID, anchors=SAID[0]))
    with pytest.raises(ModelError, match="expected classes_softmax, the only one of its shape"):
        Ssd(layout(SAID, scores=SAID[1]))
    with pytest.raises(ModelError, match=r"not \[1, 3, 3\]$"):
        Ssd(Layout((picture(96, 96),), layout(SAID).outputs[:1], 2, 0.5))


def test_recognised_by_shapes() -> None:
    assert Ssd.recognise((picture(96, 96),), layout(UNSAID).outputs)
    assert Ssd.recognise((picture(96, 96),), layout(SAID, width=4).outputs)
    assert Ssd.recognise((picture(96, 96),), layout(UNSAID, width=4).outputs) is None
    assert Ssd.recognise((picture(96, 96),), layout(UNSAID).outputs[1:]) is None
    assert Ssd.recognise((Tensor("sound", 0, (1, 96), "float32"),), layout(UNSAID).outputs) is None


def test_quantized_scores_are_compared_as_they_are_stored() -> None:
    scores = Tensor("s", 0, (1, 3, 3), "int8", (1 / 256,), (-128,))
    boxes, anchors = (Tensor(name, 1, (1, 3, 4), "int8", (1 / 64,), (0,)) for name in ("o", "anchors"))
    decode = Ssd(Layout((picture(96, 96),), (scores, boxes, anchors), 2, 0.5))
    raw = np.array([[[0, 0, -128], [0, -1, -128], [0, 3, 5]]], np.int8)  # exactly 0.5, just below, above
    found = decode([raw, np.rint(OFFSETS * 0).astype(np.int8), np.rint(ANCHORS * 64).astype(np.int8)])
    check_same(found, [(0, 0.5, tuple(ANCHORS[0, 0])), (1, 133 / 256, tuple(ANCHORS[0, 2]))])


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    scores, offsets = SCORES.copy(), OFFSETS.copy()
    scores[0, 0, 1], offsets[0, 2, 3] = np.nan, np.inf
    found = Ssd(layout(UNSAID))([scores, offsets, ANCHORS])
    assert (len(found.scores), found.nonfinite) == (0, 2)


@given(floats(1, 3, 3), floats(1, 3, 4), floats(1, 3, 4))
def test_anything_gives_sound_boxes(
    scores: NDArray[np.float32], one: NDArray[np.float32], other: NDArray[np.float32]
) -> None:
    check_sound(Ssd(layout(SAID))([scores, one, other]), 2)
