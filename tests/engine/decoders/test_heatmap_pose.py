"""No public file of this family may be used: the decoder is compared with the published formula, written once more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.heatmap_pose import HeatmapPose
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

PICTURE = Tensor("image", 0, (1, 257, 257, 3), "float32")
HEATMAPS = Tensor("float_heatmaps", 1, (1, 9, 9, 17), "float32")
OFFSETS = Tensor("float_short_offsets", 2, (1, 9, 9, 34), "float32")
MIDDLE = tuple(Tensor(f"float_mid_offsets{end}", 3, (1, 9, 9, 32), "float32") for end in ("", "_1"))


def decoder(*outputs: Tensor, picture: Tensor = PICTURE, **options: JsonValue) -> HeatmapPose:
    return HeatmapPose(Layout((picture,), outputs, 1, 0.3, options))


def test_random_maps_agree_with_the_formula() -> None:
    """PoseNet: the best cell of each keypoint, times the output stride of 32, and its offset."""
    random = np.random.default_rng(2)
    heatmaps = random.normal(size=(1, 9, 9, 17)).astype(np.float32) * 3
    offsets = random.uniform(-16, 16, (1, 9, 9, 34)).astype(np.float32)
    found = decoder(HEATMAPS, OFFSETS, *MIDDLE)([heatmaps, offsets, *[np.zeros((1, 9, 9, 32), np.float32)] * 2])
    scores = []
    for point in range(17):
        row, column = divmod(int(heatmaps[0, :, :, point].argmax()), 9)
        y = (row * 32 + offsets[0, row, column, point]) / 257
        x = (column * 32 + offsets[0, row, column, 17 + point]) / 257
        scores.append(1 / (1 + math.exp(-heatmaps[0, row, column, point])))
        assert found.points[0, point] == pytest.approx([x, y, scores[-1]], abs=1e-5)
    assert found.scores == pytest.approx([sum(scores) / 17])


def test_quantized_maps_in_another_order() -> None:
    heatmaps = np.full((1, 9, 9, 17), -50, np.int8)
    heatmaps[0, 2, 3] = 40
    offsets = np.zeros((1, 9, 9, 34), np.uint8)
    offsets[0, 2, 3, :17], offsets[0, 2, 3, 17:] = 108, 148
    found = decoder(
        Tensor("offsets", 1, (1, 9, 9, 34), "uint8", (0.5,), (128,)),
        Tensor("heatmaps", 2, (1, 9, 9, 17), "int8", (0.1,), (0,)),
    )([offsets, heatmaps])
    assert found.points[0, 9] == pytest.approx([(96 + 10) / 257, (64 - 10) / 257, 1 / (1 + math.exp(-4))], abs=1e-5)


def test_grid_that_divides_the_input_has_that_stride() -> None:
    heatmaps = np.zeros((1, 8, 8, 17), np.float32)
    heatmaps[0, 7, 1] = 1
    output, offsets = Tensor("h", 1, (1, 8, 8, 17), "float32"), Tensor("o", 2, (1, 8, 8, 34), "float32")
    picture = Tensor("image", 0, (1, 3, 256, 256), "float32")
    found = decoder(output, offsets, picture=picture, activation="none")([heatmaps, np.zeros((1, 8, 8, 34))])
    assert found.points[0, 0] == pytest.approx([32 / 256, 224 / 256, 1])


def test_heatmaps_alone_give_the_middle_of_a_cell() -> None:
    heatmaps = np.zeros((1, 64, 48, 17), np.float32)
    heatmaps[0, 10, 20] = 0.75
    found = decoder(Tensor("heatmaps", 1, (1, 64, 48, 17), "float32"))([heatmaps])
    assert found.points[0] == pytest.approx(np.tile([20.5 / 48, 10.5 / 64, 0.75], (17, 1)))


def test_recognised_by_two_maps_of_one_grid_and_refused_otherwise() -> None:
    assert HeatmapPose.recognise((PICTURE,), (HEATMAPS, OFFSETS, *MIDDLE))
    assert HeatmapPose.recognise((PICTURE,), (OFFSETS, HEATMAPS))
    assert HeatmapPose.recognise((PICTURE,), (HEATMAPS,)) is None, "could be anything"
    assert (
        HeatmapPose.recognise((PICTURE,), tuple(Tensor("c", 1, (1, 64, 64, n), "float32") for n in (1, 2, 2))) is None
    )
    with pytest.raises(ModelError, match=r"has the outputs \[1, h, w, keypoints\]"):
        decoder(HEATMAPS, MIDDLE[0])


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    heatmaps = np.zeros((1, 9, 9, 17), np.float32)
    heatmaps[0, 4, 4, 3] = np.nan
    found = decoder(HEATMAPS, OFFSETS)([heatmaps, np.zeros((1, 9, 9, 34), np.float32)])
    assert (len(found.scores), found.nonfinite) == (0, 1)


@pytest.mark.long
@given(st.data())
def test_any_floats_give_a_sound_body_or_none(data: st.DataObject) -> None:
    floats = st.floats(width=32)
    heatmaps = data.draw(npst.arrays(np.float32, HEATMAPS.shape, elements=floats))
    offsets = data.draw(npst.arrays(np.float32, OFFSETS.shape, elements=floats))
    found = decoder(HEATMAPS, OFFSETS)([heatmaps, offsets])
    assert len(found.scores) + found.nonfinite == 1
    assert np.isfinite(found.points).all()
    assert ((found.points[:, :, 2] >= 0) & (found.points[:, :, 2] <= 1)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_a_body_of_more_keypoints_than_a_message_holds_is_refused() -> None:
    assert decoder(Tensor("heatmaps", 1, (1, 9, 9, 256), "float32"))
    with pytest.raises(ModelError, match="its 257 keypoints are more than 256"):
        decoder(Tensor("heatmaps", 1, (1, 9, 9, 257), "float32"))
