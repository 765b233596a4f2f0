"""Masked parts are black in what the model sees, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edge_infer.frames.frame import Frame
from edge_infer.frames.pixels import Mask
from edge_infer.plan.records import Color

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TOP = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))


def frame(height: int = 60, width: int = 80, color: Color = "bgr") -> Frame:
    shape = (height, width) if color == "gray" else (height, width, 3)
    return Frame(np.full(shape, 200, np.uint8), color, 0.0, 0.0, 1)


@pytest.mark.parametrize("color", ["bgr", "gray"])
def test_polygons_are_black_overlaps_too_and_the_rest_is_untouched(color: Color) -> None:
    original = frame(color=color)
    seen = Mask((LEFT, TOP))(original).pixels
    assert not seen[:, :40].any()
    assert not seen[:30].any()
    assert (seen[32:, 42:] == 200).all()
    assert (original.pixels == 200).all()


def test_the_mask_follows_a_frame_that_changes_its_size() -> None:
    mask = Mask((LEFT,))
    mask(frame(60, 80))
    assert not mask(frame(120, 400)).pixels[:, :200].any()


def test_without_polygons_nothing_is_copied() -> None:
    original = frame()
    assert Mask(())(original) is original
