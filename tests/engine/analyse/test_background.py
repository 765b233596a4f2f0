"""What counts as motion: not noise, not the light, nothing under the mask, and the same at any frame rate."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edge_infer.engine.motion.background import MEMORY, WARM_UP, Background, Change
from edge_infer.frames.frame import Pixels
from edge_infer.frames.geometry import Region
from edge_infer.plan.records import Color, MotionPlan, Polygon

AREA = MotionPlan().area
LEFT: Polygon = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


class Place:
    """A gray wall that is filmed; ``dark`` is a rectangle before it."""

    def __init__(self, plan: MotionPlan | None = None, mask: tuple[Polygon, ...] = (), **more: tuple[int, int]) -> None:
        self.size = (640, 360)
        self.noise = 0.0
        self.light = 1.0
        self.at = 100.0
        self._dice = np.random.default_rng(7)
        self._background = Background(plan or MotionPlan(), mask, **more)

    def look(
        self,
        dark: tuple[int, int, int, int] | None = None,
        seconds: float = 0.1,
        color: Color = "bgr",
        paint: float | tuple[float, float, float] = 40.0,
    ) -> Change:
        self.at += seconds
        width, height = self.size
        pixels = np.full((height, width, 3), 120.0 * self.light)
        if dark is not None:
            left, top, right, bottom = dark
            pixels[top:bottom, left:right] = np.array(paint) * self.light
        if self.noise:
            pixels += self._dice.normal(0.0, self.noise, pixels.shape)
        picture: Pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        return self._background(picture[..., 0].copy() if color == "gray" else picture, self.at)

    def warm(self, seconds: float = WARM_UP + 0.1) -> Change:
        for _ in range(round(seconds / 0.1)):
            last = self.look()
        return last


@pytest.mark.parametrize("noise", [0.0, 5.0, 20.0])
def test_noise_of_a_sensor_is_no_motion(noise: float) -> None:
    place = Place()
    place.noise = noise
    place.warm()
    assert max(place.look().share for _ in range(30)) < AREA / 2


def test_somebody_is_motion_until_he_has_stood_for_a_while_and_where_he_was_too() -> None:
    place = Place()
    place.warm()
    somebody = (300, 100, 340, 200)
    assert place.look(somebody).share == pytest.approx(50 * 110 / (640 * 360), rel=0.2), "its outline is smoothed"
    shares = [place.look(somebody).share for _ in range(round(6 * MEMORY / 0.1))]
    assert shares[5] >= AREA > shares[-1]
    assert place.look().share >= AREA


def test_the_first_seconds_are_for_learning_and_another_size_begins_anew() -> None:
    place = Place()
    assert all(place.look().learning for _ in range(round(WARM_UP / 0.1) - 1))
    place.warm()
    assert not place.look().learning
    place.size = (320, 240)
    assert place.look().learning
    assert place.look(seconds=-1000.0).learning, "a clock that goes back"


def test_another_light_is_told_once_and_learned_at_once() -> None:
    place = Place()
    place.noise = 3.0
    place.warm()
    place.light = 0.6
    changed = place.look()
    assert changed.light
    assert changed.share > 0.9
    after = [place.look() for _ in range(20)]
    assert not any(change.light for change in after)
    assert max(change.share for change in after) < AREA


def test_clouds_are_no_motion() -> None:
    place = Place()
    place.warm()
    shares = []
    for number in range(200):
        place.light = 1.0 - 0.3 * number / 200
        shares.append(place.look().share)
    assert max(shares) < AREA


def test_nothing_moves_under_a_mask_and_the_rest_is_the_whole() -> None:
    place = Place(mask=(LEFT,))
    place.warm()
    assert place.look((0, 0, 320, 360)).share == 0.0
    assert place.look((320, 0, 640, 180)).share == pytest.approx(0.5, abs=0.03)


def test_a_mask_over_everything_leaves_nothing_that_moves() -> None:
    place = Place(mask=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),))
    place.warm()
    assert place.look((0, 0, 640, 360)).share == 0.0


@pytest.mark.parametrize("color", ["bgr", "rgb", "gray"])
def test_all_colours_are_seen(color: Color) -> None:
    place = Place()
    for _ in range(25):
        place.look(color=color)
    assert place.look((300, 100, 340, 200), color=color).share > AREA


@pytest.mark.parametrize("size", [(640, 480), (768, 576), (1280, 720), (320, 240)])
def test_what_differs_in_one_colour_alone_is_seen(size: tuple[int, int]) -> None:
    for paint in ((240.0, 120.0, 120.0), (120.0, 240.0, 120.0), (120.0, 120.0, 240.0)):
        place = Place()
        place.size = size
        place.warm()
        assert place.look((100, 100, 140, 200), paint=paint).share > AREA


def test_a_single_value_is_no_motion() -> None:
    """It differs by more than the threshold, but not when it is smoothed."""
    background = Background(MotionPlan(), ())
    picture = np.full((360, 640, 3), 120, np.uint8)
    for number in range(30):
        background(picture, number / 10)
    for column in range(300, 320):
        bright = picture.copy()
        bright[180:183, column] = 255
        assert background(bright, 3.0).share == 0.0


def test_parts_have_shares_of_their_own() -> None:
    place = Place(tiles=(2, 1))
    place.warm()
    change = place.look((400, 100, 440, 200))
    assert change.within(Region(0, 0, 320, 360)) == 0.0
    assert change.within(Region(320, 0, 320, 360)) == pytest.approx(2 * change.share)
    assert change.within(None) == change.share


def learned(fps: float) -> Iterator[float]:
    """How long somebody who stands stays motion."""
    place = Place()
    for _ in range(round(3 * fps)):
        place.look(seconds=1 / fps)
    for number in range(round(12 * fps)):
        if place.look((300, 100, 340, 200), seconds=1 / fps).share < AREA:
            yield number / fps


def test_time_counts_and_not_frames() -> None:
    slow, fast = next(learned(3.0)), next(learned(25.0))
    assert slow == pytest.approx(fast, abs=0.5)


def test_pictures_of_a_few_pixels() -> None:
    background = Background(MotionPlan(), (LEFT,))
    for number in range(3):
        tiny = np.full((1, 2, 3), 100 * (number == 2), np.uint8)
        change = background(tiny, float(number))
    assert change.cells.shape == (1, 3)


def test_pixels_of_the_source_stay_as_they_are() -> None:
    pixels = cv2.randu(np.empty((48, 64, 3), np.uint8), 0, 255)
    before = pixels.copy()
    Background(MotionPlan(), (LEFT,))(np.asarray(pixels, np.uint8), 0.0)
    assert (pixels == before).all()
