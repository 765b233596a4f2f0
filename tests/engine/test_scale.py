"""The scalers against the filter that they stand for: a triangle as wide as the reduction, written out in float64."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.preprocess.scale import scaler


def triangle(source: int, target: int) -> NDArray[np.float64]:
    """Weights ``[target, source]`` of antialiased bilinear resampling."""
    reduction = source / target
    centers = (np.arange(target)[:, np.newaxis] + 0.5) * reduction
    distance = np.abs(np.arange(source) + 0.5 - centers)
    weights = np.clip(1 - distance / max(reduction, 1.0), 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


SIZES = [(200, 150), (160, 120), (180, 140), (150, 225), (120, 90), (100, 50), (40, 30)]


def picture() -> NDArray[np.uint8]:
    """Noise as sharp as a camera's."""
    noise = np.random.default_rng(4).integers(0, 256, (300, 240, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.7), np.uint8)


def reduced(pixels: NDArray[np.uint8], target: tuple[int, int]) -> NDArray[np.float64]:
    wanted = np.einsum("ys,sxc->yxc", triangle(pixels.shape[0], target[1]), pixels.astype(np.float64))
    return np.einsum("xs,ysc->yxc", triangle(pixels.shape[1], target[0]), wanted)


@pytest.mark.parametrize("target", SIZES)
def test_fast_is_closer_to_the_triangle_than_what_skips_pixels(target: tuple[int, int]) -> None:
    pixels = picture()
    wanted = reduced(pixels, target)
    found = np.empty((target[1], target[0], 3), np.uint8)
    scaler("fast", (240, 300), target, 3)(pixels, found)
    plain = cv2.resize(pixels, target, interpolation=cv2.INTER_LINEAR)

    def difference(pixels: NDArray[np.uint8]) -> float:
        return float(np.sqrt(((pixels - wanted) ** 2).mean()))

    assert difference(found) < 0.75 * difference(plain)
    assert abs(float(found.mean() - wanted.mean())) < 0.6, "no brighter and no darker"


@pytest.mark.parametrize("target", [*SIZES, (480, 600)])
def test_exact_is_the_triangle_rounded_once_a_direction(target: tuple[int, int]) -> None:
    pixels = picture()
    whole = np.zeros((target[1] + 2, target[0] + 2, 3), np.uint8)
    scaler("exact", (240, 300), target, 3)(pixels, whole[1:-1, 1:-1])
    assert np.abs(whole[1:-1, 1:-1] - reduced(pixels, target)).max() <= 1.1
    assert not whole[[0, -1]].any()
    assert not whole[:, [0, -1]].any()


def test_exact_takes_a_part_of_a_gray_picture() -> None:
    pixels = picture()[..., 0]
    found = np.empty((30, 40), np.uint8)
    scaler("exact", (160, 120), (40, 30), 1)(pixels[60:180, 40:200], found)
    wanted = reduced(np.repeat(pixels[60:180, 40:200, np.newaxis], 3, axis=2), (40, 30))[..., 0]
    assert np.abs(found - wanted).max() <= 1.0
