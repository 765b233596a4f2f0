"""No public file without post-process is at hand: compared with the published formulas, written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.efficientdet import EfficientDet
from edge_infer.engine.decoders.ssd_postprocess import SsdPostprocess
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture, quantize, sigmoid

WIDTH, HEIGHT, CLASSES = 72, 40, 3
LEVELS = ((5, 9), (3, 5), (2, 3), (1, 2), (1, 1))  # halved and rounded up from 40 x 72
ANCHORS = 9 * sum(rows * columns for rows, columns in LEVELS)
WHOLE = (("boxes", (1, ANCHORS, 4)), ("scores", (1, ANCHORS, CLASSES)))
BY_LEVEL = tuple(
    (f"{kind}_{level}", (1, rows, columns, 9 * each))
    for kind, each in (("class", CLASSES), ("box", 4))
    for level, (rows, columns) in enumerate(LEVELS)
)


def layout(shapes: tuple[tuple[str, tuple[int, ...]], ...], **options: JsonValue) -> Layout:
    outputs = tuple(Tensor(name, index, shape, "float32") for index, (name, shape) in enumerate(shapes))
    return Layout((picture(WIDTH, HEIGHT),), outputs, CLASSES, 0.5, {"anchor_scale": 3, **options})


def published(boxes: NDArray[np.floating], scores: NDArray[np.floating], scale: float) -> Plain:
    """Anchors in pixels with the strides of each level, centre at half a stride; then in fractions."""
    found, index = [], 0
    for rows, columns in LEVELS:
        tall, wide = HEIGHT / rows, WIDTH / columns
        for row in range(rows):
            for column in range(columns):
                for octave in range(3):
                    for aspect in (1.0, 2.0, 0.5):
                        size = scale * 2 ** (octave / 3)
                        aw, ah = size * wide * math.sqrt(aspect), size * tall / math.sqrt(aspect)
                        ty, tx, th, tw = (float(value) for value in boxes[index])
                        best = max(range(CLASSES), key=scores[index].tolist().__getitem__)
                        score = float(scores[index][best])
                        index += 1
                        if score < 0.5:
                            continue
                        cy, cx = ty * ah + (row + 0.5) * tall, tx * aw + (column + 0.5) * wide
                        h, w = math.exp(th) * ah, math.exp(tw) * aw
                        sides = (cx - w / 2) / WIDTH, (cy - h / 2) / HEIGHT, (cx + w / 2) / WIDTH, (cy + h / 2) / HEIGHT
                        found.append((best, score, sides))
    assert index == ANCHORS
    return found


def random_parts(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return random.normal(0, 0.5, (1, ANCHORS, 4)).astype(np.float32), random.random((1, ANCHORS, CLASSES)).astype(
        np.float32
    )


def by_level(parts: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    found, start = [], 0
    for rows, columns in LEVELS:
        count = 9 * rows * columns
        found.append(parts[:, start : start + count].reshape(1, rows, columns, -1))
        start += count
    return found


@pytest.mark.parametrize("seed", range(2))
def test_as_published_whole_and_by_level(seed: int) -> None:
    boxes, scores = random_parts(seed)
    wanted = published(boxes[0], scores[0], 3)
    assert len(wanted) > 100
    decode = EfficientDet(layout(WHOLE))
    assert decode.classes == CLASSES
    check_same(decode([boxes, scores]), wanted)
    check_same(EfficientDet(layout(BY_LEVEL))([*by_level(scores), *by_level(boxes)]), wanted)


def test_logits_are_known_by_number_even_if_one_level_looks_like_scores() -> None:
    boxes, scores = random_parts(4)
    scores[:, -9:] = 0.55  # its logits are within 0..1
    wanted = published(boxes[0], scores[0], 4)
    logits = np.log(scores / (1 - scores))
    check_same(EfficientDet(layout(WHOLE, anchor_scale=4))([boxes, logits]), wanted)
    levels = [*by_level(logits), *by_level(boxes)]
    check_same(EfficientDet(layout(BY_LEVEL, anchor_scale=4))(levels), wanted)


def test_quantized() -> None:
    boxes, scores = random_parts(5)
    one = Tensor("boxes", 0, (1, ANCHORS, 4), "int8", (0.02,), (3,))
    two = Tensor("scores", 1, (1, ANCHORS, CLASSES), "uint8", (0.05,), (200,))
    raw_boxes = quantize(boxes.astype(np.float64), one)
    raw_scores = quantize(np.log(scores / (1 - scores)).astype(np.float64), two)
    real = np.vectorize(sigmoid)((raw_scores.astype(np.float64) - 200) * 0.05)
    wanted = published((raw_boxes[0].astype(np.float64) - 3) * 0.02, real[0], 3)
    decode = EfficientDet(Layout((picture(WIDTH, HEIGHT),), (one, two), CLASSES, 0.5, {"anchor_scale": 3}))
    check_same(decode([raw_boxes, raw_scores]), wanted)


def test_with_suppression_inside_it_is_a_post_process() -> None:
    names = [f"StatefulPartitionedCall:{end}" for end in (1, 3, 0, 2)]
    shapes = ((1, 2), (1, 2, 4), (1,), (1, 2))
    outputs = tuple(Tensor(name, 0, shape, "float32") for name, shape in zip(names, shapes, strict=True))
    raw = (
        np.array([[0.75, 0.25]], np.float32),
        np.array([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]], np.float32),
        np.array([2], np.float32),
        np.array([[16, 3]], np.float32),
    )
    plan = Layout((picture(WIDTH, HEIGHT),), outputs, 90, 0.5)
    found = EfficientDet(plan)(raw)
    assert found.merged
    check_same(found, [(16, 0.75, (0.2, 0.1, 0.4, 0.3))])
    assert EfficientDet.recognise(plan.inputs, outputs) is None
    assert SsdPostprocess.recognise(plan.inputs, outputs)


def test_recognised_by_its_number_of_anchors() -> None:
    for shapes in (WHOLE, BY_LEVEL):
        assert EfficientDet.recognise((picture(WIDTH, HEIGHT),), layout(shapes).outputs)
        assert EfficientDet.recognise((picture(WIDTH, HEIGHT + 8),), layout(shapes).outputs) is None
    lite0 = (Tensor("b", 0, (1, 19206, 4), "float32"), Tensor("c", 1, (1, 19206, 90), "float32"))
    assert EfficientDet.recognise((picture(320, 320),), lite0)


def test_what_does_not_fit_is_told_what_is_right() -> None:
    with pytest.raises(ModelError, match=r"set it in the manifest: `decoder: {kind: efficientdet, anchor_scale: 4}`"):
        EfficientDet(layout(WHOLE, anchor_scale=None))
    with pytest.raises(ModelError, match=r"`decoder: anchor_scale` is 'large'; expected a number from 0\.1 to 100"):
        EfficientDet(layout(WHOLE, anchor_scale="large"))
    with pytest.raises(ModelError, match="known for efficientdet: anchor_scale, activation"):
        EfficientDet(layout(WHOLE, aspects=[1]))
    with pytest.raises(ModelError, match=r"here n = 621, the first level 5 x 9\), not \[1, 621, 4\]$"):
        EfficientDet(layout(WHOLE[:1]))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    boxes, scores = np.zeros((1, ANCHORS, 4), np.float32), np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, 3, 1], scores[0, 5, 0], boxes[0, 5, 2] = np.nan, 0.75, 1000
    found = EfficientDet(layout(WHOLE))([boxes, scores])
    assert (len(found.scores), found.nonfinite) == (0, 2)


@pytest.mark.long
@given(floats(1, ANCHORS, 4), floats(1, ANCHORS, CLASSES))
def test_anything_gives_sound_boxes(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    check_sound(EfficientDet(layout(WHOLE))([boxes, scores]), CLASSES)
