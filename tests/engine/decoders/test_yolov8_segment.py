"""No public file of this family may be used: the decoder is compared with the published formula, written once more."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.yolov8_segment import MASKS, Yolov8Segment
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

WIDTH, HEIGHT, CELLS = 128, 96, 252
DOWN, ACROSS = HEIGHT // 4, WIDTH // 4
PICTURE = Tensor("images", 0, (1, HEIGHT, WIDTH, 3), "float32")
CLASSES = 3
ROWS = 4 + CLASSES + MASKS
HEAD = Tensor("head", 1, (1, ROWS, CELLS), "float32")
PROTOTYPES = Tensor("masks", 2, (1, DOWN, ACROSS, MASKS), "float32")


def decoder(*outputs: Tensor) -> Yolov8Segment:
    return Yolov8Segment(Layout((PICTURE,), outputs or (HEAD, PROTOTYPES), CLASSES, 0.5))


def tensors() -> tuple[np.ndarray, np.ndarray]:
    """A head with forty objects here and there, and smooth prototypes."""
    random = np.random.default_rng(3)
    head = random.uniform(0, 0.4, (ROWS, CELLS)).astype(np.float32)
    objects = random.choice(CELLS, 40, replace=False)
    head[:2, objects] = random.uniform(0.2, 0.8, (2, 40))
    head[2:4, objects] = random.uniform(0.1, 0.6, (2, 40))
    head[4 + random.integers(0, CLASSES, 40), objects] = random.uniform(0.5, 1, 40)
    head[4 + CLASSES :] = random.normal(size=(MASKS, CELLS))
    coarse = random.normal(size=(DOWN // 4, ACROSS // 4, MASKS)).astype(np.float32)
    layers = [cv2.resize(coarse[..., layer], (ACROSS, DOWN), interpolation=cv2.INTER_CUBIC) for layer in range(MASKS)]
    return head, np.stack(layers, axis=2)


def reference(head: np.ndarray, prototypes: np.ndarray) -> list[tuple[int, float, list[float], float]]:
    """Cell by cell, each mask made whole, enlarged to the input, and counted in its box."""
    found = []
    for cell in range(head.shape[1]):
        number = int(head[4 : 4 + CLASSES, cell].argmax())
        score = float(head[4 + number, cell])
        if score < 0.5:
            continue
        x, y, width, height = (float(value) for value in head[:4, cell])
        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        mask = cv2.resize((prototypes @ head[4 + CLASSES :, cell]).astype(np.float32), (WIDTH * 4, HEIGHT * 4)) > 0
        left, right = (round(side * WIDTH * 4) for side in (box[0], box[2]))
        top, bottom = (round(side * HEIGHT * 4) for side in (box[1], box[3]))
        inside = mask[max(top, 0) : bottom, max(left, 0) : right]
        found.append((number, score, box, float(inside.sum()) / ((bottom - top) * (right - left))))
    return found


def test_random_heads_agree_with_the_formula() -> None:
    head, prototypes = tensors()
    found = decoder()([head[np.newaxis], prototypes[np.newaxis]])
    wanted = reference(head, prototypes)
    assert len(wanted) == 40 == len(found.scores)
    assert found.shares is not None
    assert found.classes.tolist() == [number for number, *_ in wanted]
    assert found.boxes == pytest.approx(np.array([box for _, _, box, _ in wanted]), abs=1e-5)
    assert found.scores == pytest.approx([score for _, score, _, _ in wanted])
    errors = np.abs(found.shares - np.array([share for *_, share in wanted]))
    assert errors.mean() < 0.02
    assert errors.max() < 0.06
    assert found.shares.std() > 0.1, "shares of all sizes"


def test_every_order_of_outputs_and_axes_gives_the_same() -> None:
    head, prototypes = tensors()
    wanted = decoder()([head[np.newaxis], prototypes[np.newaxis]])
    first = Tensor("masks", 2, (1, MASKS, DOWN, ACROSS), "float32")
    turned = Tensor("head", 1, (1, CELLS, ROWS), "float32")
    found = decoder(first, turned)([prototypes.transpose(2, 0, 1)[np.newaxis].copy(), head.T[np.newaxis].copy()])
    assert found.shares == pytest.approx(wanted.shares)
    assert found.boxes == pytest.approx(wanted.boxes)


def test_quantized_outputs() -> None:
    head, prototypes = tensors()
    wanted = decoder()([head[np.newaxis], prototypes[np.newaxis]])
    scale, size = 8 / 256, 12 / 256
    of_head = Tensor("head", 1, HEAD.shape, "int8", (scale,), (0,))
    of_masks = Tensor("masks", 2, PROTOTYPES.shape, "int8", (size,), (0,))
    raw = [np.rint(part / step).clip(-128, 127).astype(np.int8) for part, step in ((head, scale), (prototypes, size))]
    found = decoder(of_head, of_masks)([raw[0][np.newaxis], raw[1][np.newaxis]])
    assert found.shares is not None
    assert wanted.shares is not None
    assert abs(float(found.shares.mean() - wanted.shares.mean())) < 0.05


def test_a_box_that_reaches_beyond_the_input_is_filled_only_inside() -> None:
    head = np.zeros((1, ROWS, CELLS), np.float32)
    head[0, :5, 7] = (0.0, 0.5, 0.5, 1.0, 0.9)
    head[0, 4 + CLASSES, 7] = 1
    found = decoder()([head, np.ones((1, DOWN, ACROSS, MASKS), np.float32)])
    assert found.shares == pytest.approx([0.5])


def test_recognised_by_head_and_prototypes_and_refused_otherwise() -> None:
    assert Yolov8Segment.recognise((PICTURE,), (HEAD, PROTOTYPES))
    assert Yolov8Segment.recognise((PICTURE,), (PROTOTYPES, HEAD))
    assert Yolov8Segment.recognise((PICTURE,), (HEAD,)) is None
    assert Yolov8Segment.recognise((PICTURE,), (HEAD, Tensor("m", 2, (1, 9, 9, MASKS), "float32"))) is None
    with pytest.raises(ModelError, match="a YOLOv8 segmentation head has two outputs"):
        decoder(HEAD)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    head, prototypes = tensors()
    cells = np.flatnonzero(head[4 : 4 + CLASSES].max(axis=0) >= 0.5)
    head[0, cells[0]], head[4 + CLASSES + 5, cells[1]] = np.nan, np.inf
    found = decoder()([head[np.newaxis], prototypes[np.newaxis]])
    assert found.shares is not None
    assert (len(found.scores), len(found.shares), found.nonfinite) == (38, 38, 2)


@pytest.mark.long
@given(st.data())
def test_any_floats_give_sound_boxes_and_shares(data: st.DataObject) -> None:
    floats = st.floats(width=32)
    head = data.draw(npst.arrays(np.float32, (1, ROWS, CELLS), elements=floats))
    prototypes = data.draw(npst.arrays(np.float32, PROTOTYPES.shape, elements=floats))
    found = decoder()([head, prototypes])
    assert found.shares is not None
    assert len(found.shares) == len(found.boxes) == len(found.scores)
    assert np.isfinite(found.boxes).all()
    assert ((found.shares >= 0) & (found.shares <= 1)).all()
    assert ((found.scores >= 0.5) & (found.scores <= 1)).all()
