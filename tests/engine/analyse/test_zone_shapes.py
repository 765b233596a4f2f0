"""A zone has the shape that was drawn, also where it reaches the edge of the frame, and continues outside."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edge_infer.engine.events.zones import ZoneArea
from edge_infer.plan.records import Polygon, ZonePlan

SIZE = (640, 480)
SHAPES: dict[str, Polygon] = {
    "driveway": ((0.4, 0.4), (0.6, 0.4), (0.9, 1.0), (0.1, 1.0)),
    "wide driveway": ((0.3, 0.4), (0.7, 0.4), (1.0, 1.0), (0.0, 1.0)),
    "wedge": ((0.0, 0.2), (0.6, 0.5), (0.0, 0.8)),
    "valley": ((0.0, 0.3), (0.5, 0.5), (1.0, 0.3), (1.0, 1.0), (0.0, 1.0)),
    "slope": ((0.0, 0.5), (1.0, 0.2), (1.0, 1.0), (0.0, 1.0)),
    "left half": ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),
    "everything": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "inside": ((0.2, 0.2), (0.7, 0.3), (0.5, 0.8)),
}


def zone(name: str) -> ZoneArea:
    return ZoneArea(ZonePlan(name, SHAPES[name]), SIZE)


def every_pixel() -> np.ndarray:
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    return np.stack((x.ravel(), y.ravel()), axis=1)


@pytest.mark.parametrize("name", SHAPES)
def test_a_zone_covers_the_pixels_of_its_polygon(name: str) -> None:
    picture = Image.new("1", SIZE)
    corners = [
        (x * SIZE[0] - 0.5, y * SIZE[1] - 0.5) for x, y in SHAPES[name]
    ]  # the middles of Pillow's pixels are whole
    ImageDraw.Draw(picture).polygon(corners, fill=1)
    drawn = np.array(picture).ravel()
    distances = zone(name).distances(every_pixel())
    clear = np.abs(distances) > 2.0  # the two round a border differently
    assert clear.mean() > 0.9
    assert ((distances > 0.0) == drawn)[clear].all()


@pytest.mark.parametrize("name", SHAPES)
def test_a_point_outside_of_the_frame_counts_as_the_nearest_one_inside(name: str) -> None:
    area = zone(name)
    outside = np.array([[-50.0, 300.0], [700.0, 100.0], [200.0, 530.0], [200.0, -1.0], [900.0, 900.0]])
    inside = np.clip(outside, 0.5, np.array(SIZE) - 0.5)
    assert ((area.distances(outside) > 0.0) == (area.distances(inside) > 0.0)).all()


def test_the_edge_of_the_frame_is_no_border() -> None:
    depths = zone("left half").distances(
        np.array([[0.0, 240.0], [320.0 - 7.0, 0.0], [320.0 + 7.0, 479.0], [-90.0, 600.0]])
    )
    assert depths.tolist() == pytest.approx([320.0, 7.0, -7.0, 320.0], abs=1e-3)
    assert (zone("everything").distances(np.array([[0.0, 0.0], [320.0, 240.0], [9999.0, -5.0]])) == 800.0).all()


def test_the_margin_of_a_strip_along_the_edge_leaves_room_to_enter() -> None:
    strip = ZoneArea(ZonePlan("strip", ((0.0, 0.95), (1.0, 0.95), (1.0, 1.0), (0.0, 1.0))), SIZE)
    assert strip.most_margin < strip.distances(np.array([[320.0, 479.5]]))[0]
