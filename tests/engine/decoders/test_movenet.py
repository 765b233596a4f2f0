from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.movenet import MoveNet
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

PICTURE = Tensor("image", 0, (1, 192, 192, 3), "uint8")
SINGLE = Tensor("pose", 1, (1, 1, 17, 3), "float32")
MULTI = Tensor("poses", 1, (1, 6, 56), "float32")


def decoder(output: Tensor) -> MoveNet:
    return MoveNet(Layout((PICTURE,), (output,), 1, 0.3))


def test_one_body_is_x_y_score_and_its_score_is_the_mean() -> None:
    raw = np.zeros((1, 1, 17, 3), np.float32)
    raw[0, 0, :, 0] = 0.25
    raw[0, 0, :, 1] = np.arange(17) / 20
    raw[0, 0, :, 2] = np.linspace(0, 1, 17)
    found = decoder(SINGLE)([raw])
    assert found.points[0, 4] == pytest.approx([0.2, 0.25, 0.25])
    assert found.scores == pytest.approx([0.5])
    assert (found.boxes, found.nonfinite) == (None, 0)


def test_quantized_single_pose() -> None:
    output = Tensor("pose", 1, (1, 1, 17, 3), "uint8", (1 / 256,), (0,))
    found = decoder(output)([np.full((1, 1, 17, 3), 64, np.uint8)])
    assert found.points[0, 0] == pytest.approx([0.25, 0.25, 0.25])


def test_several_bodies_have_their_own_scores() -> None:
    raw = np.zeros((1, 6, 56), np.float32)
    raw[0, 2, :51] = np.tile([0.1, 0.6, 0.9], 17)
    raw[0, 2, 51:] = (0.0, 0.5, 0.2, 0.7, 0.8)
    found = decoder(MULTI)([raw])
    assert found.points.shape == (6, 17, 3)
    assert found.points[2] == pytest.approx(np.tile([[0.6, 0.1, 0.9]], (17, 1)))
    assert found.scores == pytest.approx([0, 0, 0.8, 0, 0, 0])


def test_recognised_by_the_output_and_refused_otherwise() -> None:
    assert MoveNet.recognise((PICTURE,), (SINGLE,)) == "17 keypoints of y, x and score"
    assert MoveNet.recognise((PICTURE,), (MULTI,)) == "up to 6 bodies of 17 keypoints, a box and a score"
    assert MoveNet.recognise((PICTURE,), (Tensor("head", 1, (1, 8400, 56), "float32"),)) is None
    with pytest.raises(ModelError, match=r"MoveNet has one output.* not \[1, 4\]"):
        decoder(Tensor("pose", 1, (1, 4), "float32"))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    raw = np.zeros((1, 6, 56), np.float32)
    raw[0, 0, 3], raw[0, 4, 55] = np.nan, np.inf
    found = decoder(MULTI)([raw])
    assert (len(found.scores), found.nonfinite) == (4, 2)


@given(npst.arrays(np.float32, (1, 6, 56), elements=st.floats(width=32)))
def test_any_floats_give_sound_bodies(raw: np.ndarray) -> None:
    found = decoder(MULTI)([raw])
    one = decoder(SINGLE)([raw.reshape(-1)[: 17 * 3].reshape(1, 1, 17, 3)])
    for bodies in (found, one):
        assert np.isfinite(bodies.points).all()
        assert ((bodies.points[:, :, 2] >= 0) & (bodies.points[:, :, 2] <= 1)).all()
        assert ((bodies.scores >= 0) & (bodies.scores <= 1)).all()
    assert len(found.scores) + found.nonfinite == 6
