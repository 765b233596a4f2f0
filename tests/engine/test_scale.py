"""The scaler against the filter that it stands for: a triangle as wide as the reduction, written out in float64."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.preprocess.scale import Scaler


def triangle(source: int, target: int) -> NDArray[np.float64]:
    """Weights ``[target, source]`` of antialiased bilinear resampling."""
    reduction = source / target
    centers = (np.arange(target)[:, np.newaxis] + 0.5) * reduction
    distance = np.abs(np.arange(source) + 0.5 - centers)
    weights = np.clip(1 - distance / max(reduction, 1.0), 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("target", [(200, 150), (160, 120), (180, 140), (150, 225), (120, 90), (100, 50), (40, 30)])
def test_closer_to_the_triangle_than_what_skips_pixels(target: tuple[int, int]) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (300, 240, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 0.7)  # as sharp as a camera's
    wanted = np.einsum("ys,sxc->yxc", triangle(300, target[1]), picture.astype(np.float64))
    wanted = np.einsum("xs,ysc->yxc", triangle(240, target[0]), wanted)
    found = np.empty((target[1], target[0], 3), np.uint8)
    Scaler((240, 300), target, 3)(picture, found)
    plain = cv2.resize(picture, target, interpolation=cv2.INTER_LINEAR)

    def difference(pixels: NDArray[np.uint8]) -> float:
        return float(np.sqrt(((pixels - wanted) ** 2).mean()))

    assert difference(found) < 0.75 * difference(plain)
    assert abs(float(found.mean() - wanted.mean())) < 0.6, "no brighter and no darker"
