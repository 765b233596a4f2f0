"""Grids over pictures: their lines follow the box, every pixel belongs to its cells, the model sees what it saw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.explain.answers import NumberAnswer
from edge_infer.explain.pictures import PictureCells, blending, even_lines, lines_around, shrunk
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Region
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan
from tests.explain.planted import SIDE, noise, planted_detector
from tests.running import MODEL, ROOT

PICTURE = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"


@given(st.floats(-0.2, 1.0), st.floats(0.0, 1.2), st.integers(16, 1024))
def test_lines_rise_from_edge_to_edge_and_follow_the_box(low: float, size: float, pixels: int) -> None:
    lines = lines_around(low, low + size, pixels)
    assert (lines[0], lines[-1]) == (0.0, 1.0)
    assert (np.diff(lines) > 0).all()
    assert len(lines) <= 30
    assert np.abs(blending(lines, pixels).sum(axis=1) - 1.0).max() < 1e-5


def test_a_box_in_the_middle_is_cut_finely_and_what_surrounds_it_ever_more_coarsely() -> None:
    lines = lines_around(0.4, 0.6, 192)
    assert np.isin(np.round([0.4, 0.45, 0.5, 0.55, 0.6], 9), np.round(lines, 9)).all()
    widths = np.diff(lines[lines >= 0.6])
    assert (np.diff(widths[:-2]) > 0).all()
    assert widths[-1] == pytest.approx(0.1), "the border of the picture"


def test_even_lines_are_not_finer_than_four_pixels() -> None:
    assert np.diff(even_lines(8, 192)).max() == pytest.approx(1 / 8)
    assert len(even_lines(8, 24)) == 7
    assert len(even_lines(8, 3)) == 2


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (150, 400)])
def test_the_small_picture_gives_the_model_the_same_input(size: tuple[int, int]) -> None:
    plan = resolve(ModelRequest("face", str(MODEL)))
    pixels = np.asarray(cv2.resize(read_picture(str(PICTURE)), size), np.uint8)
    frame = Frame(pixels, "bgr", 0.0, 0.0, 1)
    with LoadedModel(PipelinePlan("p", "s", plan, plan.threshold)) as model:
        fit = model.feed(frame)
        before = model.interpreter.input().copy()
        small, region = shrunk(frame, fit, plan)
        model.feed(small)
        assert (model.interpreter.input() == before).all()
        assert region.size == size
        assert max(small.size) == 192


@pytest.mark.parametrize(("fill", "expected"), [(0, 0), (1, 255)])
def test_hidden_cells_are_filled_and_visible_ones_stay(tmp_path: Path, fill: int, expected: int) -> None:
    plan = resolve(ModelRequest("planted", str(planted_detector(tmp_path, (24, 24, 48, 48)))))
    frame = Frame(noise(1), "bgr", 0.0, 0.0, 1)
    with LoadedModel(PipelinePlan("p", "s", plan, plan.threshold)) as model:
        cells = PictureCells(
            model, frame, NumberAnswer("x", 1.0, box=(0.25, 0.25, 0.5, 0.5)), frame, Region(0, 0, SIDE, SIDE)
        )
        inside = cells.inside()
        assert inside is not None
        assert inside.sum() == 16
        assert (cells.masked(np.ones(cells.cells, np.bool_), fill).pixels == frame.pixels).all()
        hidden = cells.masked(inside == 0, fill).pixels
    assert (hidden[25:47, 25:47] == expected).all()
    outside = np.ones((SIDE, SIDE), np.bool_)
    outside[22:50, 22:50] = False
    assert (hidden[outside] == frame.pixels[outside]).all()
