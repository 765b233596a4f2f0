from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.frames.geometry import Region, Transform
from edge_infer.plan.records import Resize

SIZES = st.tuples(st.integers(1, 4096), st.integers(1, 4096))
INPUTS = st.tuples(st.integers(1, 1024), st.integers(1, 1024))
RESIZES: st.SearchStrategy[Resize] = st.sampled_from(["stretch", "letterbox", "crop"])
UNIT = st.floats(0, 1, allow_nan=False)


@given(SIZES, INPUTS, RESIZES, st.lists(st.tuples(UNIT, UNIT, UNIT, UNIT), max_size=5))
def test_way_back_undoes_way_in(
    source: tuple[int, int], size: tuple[int, int], resize: Resize, fractions: list[tuple[float, ...]]
) -> None:
    transform = Transform.fit(source, size, resize)
    boxes = np.array(fractions, np.float64).reshape(-1, 4) * np.array([*source, *source])
    assert np.allclose(transform.to_source(transform.to_input(boxes)), boxes, rtol=1e-9, atol=1e-6)


@given(SIZES, INPUTS, RESIZES)
def test_frame_fills_its_place_and_the_place_is_within_the_input(
    source: tuple[int, int], size: tuple[int, int], resize: Resize
) -> None:
    transform = Transform.fit(source, size, resize)
    assert 0 <= transform.left <= size[0] - transform.width
    assert 0 <= transform.top <= size[1] - transform.height
    place = (transform.left, transform.top, transform.left + transform.width, transform.top + transform.height)
    fractions = np.array(place) / np.array([*size, *size])
    shown = transform.region
    assert resize == "crop" or shown == Region(0, 0, *source)
    corners = [shown.left, shown.top, shown.left + shown.width, shown.top + shown.height]
    assert np.allclose(transform.to_source(fractions), [corners])


@given(SIZES, INPUTS)
def test_a_crop_is_the_largest_part_of_the_inputs_shape_around_the_middle(
    source: tuple[int, int], size: tuple[int, int]
) -> None:
    region = Transform.fit(source, size, "crop").region
    assert region.width == source[0] or region.height == source[1]
    for whole, start, length in ((source[0], region.left, region.width), (source[1], region.top, region.height)):
        assert 0 <= start <= whole - length
        assert abs(2 * start + length - whole) <= 1
    if min(region.size) > 1:
        assert abs(region.width * size[1] - region.height * size[0]) <= max(size)


@given(SIZES, INPUTS, RESIZES, st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=5))
def test_points_go_the_way_of_boxes(
    source: tuple[int, int], size: tuple[int, int], resize: Resize, points: list[tuple[float, float]]
) -> None:
    transform = Transform.fit(source, size, resize)
    inside = transform.points_to_source(points).clip(0, source)
    assert np.allclose(inside, transform.to_source([(*point, *point) for point in points])[:, :2])


@given(SIZES, INPUTS, st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4), min_size=1, max_size=5))
def test_boxes_are_clipped_to_the_frame(
    source: tuple[int, int], size: tuple[int, int], boxes: list[tuple[float, ...]]
) -> None:
    clipped = Transform.fit(source, size, "letterbox").to_source(np.array(boxes, np.float32))
    assert (clipped >= 0).all()
    assert (clipped <= np.array([*source, *source])).all()


def test_letterbox_uses_the_rounded_size_and_offset() -> None:
    transform = Transform.fit((810, 1080), (224, 224), "letterbox")
    assert (transform.left, transform.top, transform.width, transform.height) == (28, 0, 168, 224)
    odd = Transform.fit((1000, 333), (128, 128), "letterbox")
    assert (odd.left, odd.top, odd.width, odd.height) == (0, 42, 128, 43)
    assert odd.to_source([[0.0, 42 / 128, 1.0, 85 / 128]])[0] == pytest.approx((0, 0, 1000, 333))


def test_no_boxes() -> None:
    assert Transform.fit((10, 10), (4, 4), "stretch").to_source(np.empty((0, 4), np.float32)).shape == (0, 4)
