"""No public file of this family is at hand: the decoder is compared with the published formula, written as loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.centernet import CenterNet
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture, quantize, sigmoid

ROWS, COLUMNS, CLASSES = 6, 8, 3
NAMES = ("center_heatmap", "box/scale", "box/offset")
SHAPES = ((1, ROWS, COLUMNS, CLASSES), (1, ROWS, COLUMNS, 2), (1, ROWS, COLUMNS, 2))


def layout(names: tuple[str, ...] = NAMES, places: tuple[int, ...] = (0, 1, 2), **options: JsonValue) -> Layout:
    outputs = tuple(Tensor(names[part], part, SHAPES[part], "float32") for part in places)
    return Layout((picture(32, 24),), outputs, CLASSES, 0.4, options)


def published(heatmap: NDArray[np.floating], sizes: NDArray[np.floating], offsets: NDArray[np.floating]) -> Plain:
    found = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            for number in range(CLASSES):
                score = float(heatmap[row, column, number])
                around = heatmap[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2, number]
                if score < 0.4 or score < around.max():
                    continue
                cx, cy = column + float(offsets[row, column, 0]), row + float(offsets[row, column, 1])
                w, h = float(sizes[row, column, 0]), float(sizes[row, column, 1])
                sides = (cx - w / 2) / COLUMNS, (cy - h / 2) / ROWS, (cx + w / 2) / COLUMNS, (cy + h / 2) / ROWS
                found.append((number, score, sides))
    return found


def random_parts(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    heatmap, sizes, offsets = random.random(SHAPES[0]), random.uniform(0.5, 4, SHAPES[1]), random.random(SHAPES[2])
    return heatmap.astype(np.float32), sizes.astype(np.float32), offsets.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("places", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_as_published(seed: int, places: tuple[int, ...]) -> None:
    parts = random_parts(seed)
    wanted = published(*(part[0] for part in parts))
    assert len(wanted) > 8
    check_same(CenterNet(layout(places=places))([parts[part] for part in places]), wanted)


def test_logits_and_the_other_order() -> None:
    heatmap, sizes, offsets = random_parts(7)
    wanted = published(heatmap[0], sizes[0], offsets[0])
    logits = np.log(heatmap / (1 - heatmap))
    check_same(CenterNet(layout())([logits, sizes, offsets]), wanted)
    check_same(CenterNet(layout(activation="sigmoid"))([logits, sizes, offsets]), wanted)
    check_same(CenterNet(layout(order="yx"))([heatmap, sizes[..., ::-1], offsets[..., ::-1]]), wanted)


def test_quantized_logits_are_known_by_their_range() -> None:
    heatmap, sizes, offsets = random_parts(3)
    tensor = Tensor("heatmap", 0, SHAPES[0], "int8", (0.05,), (60,))
    raw = quantize(np.log(heatmap / (1 - heatmap)).astype(np.float64), tensor)
    real = np.vectorize(sigmoid)((raw.astype(np.float64) - 60) * 0.05)
    decode = CenterNet(Layout((picture(32, 24),), (tensor, *layout().outputs[1:]), CLASSES, 0.4))
    check_same(decode([raw, sizes, offsets]), published(real[0], sizes[0], offsets[0]))


def test_the_manifest_names_them() -> None:
    parts = random_parts(1)
    wanted = published(*(part[0] for part in parts))
    names = ("a", "b", "c")
    check_same(CenterNet(layout(names, sizes="b", offsets="c"))(parts), wanted)
    check_same(CenterNet(layout(names, sizes="b"))(parts), wanted)
    check_same(CenterNet(layout(names, offsets="c"))(parts), wanted)
    with pytest.raises(
        ModelError,
        match=r"outputs b, c contains sizes and which contains offsets is unknown.*sizes: NAME, offsets: NAME",
    ):
        CenterNet(layout(names))
    with pytest.raises(ModelError, match="`decoder: sizes` is 'x'; expected one of a, b, c"):
        CenterNet(layout(names, sizes="x"))
    with pytest.raises(ModelError, match="`decoder: order` is 'up'; expected xy or yx"):
        CenterNet(layout(order="up"))
    with pytest.raises(ModelError, match="`decoder: activation` is 'relu'; expected none or sigmoid"):
        CenterNet(layout(activation="relu"))
    with pytest.raises(ModelError, match=r"and twice \[1, rows, columns, 2\], not \[1, 6, 8, 3\], \[1, 6, 8, 2\]$"):
        CenterNet(Layout((picture(32, 24),), layout().outputs[:2], CLASSES, 0.4))


def test_recognised_where_names_tell() -> None:
    assert CenterNet.recognise((picture(32, 24),), layout().outputs)
    assert CenterNet.recognise((picture(32, 24),), layout(("a", "b", "c")).outputs) is None
    assert CenterNet.recognise((Tensor("sound", 0, (1, 96), "float32"),), layout().outputs) is None


def test_what_is_not_finite_is_counted_and_hides_no_neighbour() -> None:
    heatmap, sizes, offsets = (np.zeros(shape, np.float32) for shape in SHAPES)
    sizes[:], heatmap[0, 2, 2, 0], heatmap[0, 2, 3, 0], heatmap[0, 5, 7, 1] = 1, np.nan, 0.75, 0.5
    offsets[0, 5, 7, 0] = np.inf
    found = CenterNet(layout())([heatmap, sizes, offsets])
    assert found.scores.tolist() == [0.75]
    assert found.nonfinite == 2


@pytest.mark.long
@given(floats(*SHAPES[0]), floats(*SHAPES[1]), floats(*SHAPES[2]), st.sampled_from([None, "none", "sigmoid"]))
def test_anything_gives_sound_boxes(
    heatmap: NDArray[np.float32], sizes: NDArray[np.float32], offsets: NDArray[np.float32], activation: str | None
) -> None:
    check_sound(CenterNet(layout(activation=activation))([heatmap, sizes, offsets]), CLASSES)
