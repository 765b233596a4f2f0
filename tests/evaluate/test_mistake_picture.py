"""Pictures of mistakes: of every input as large as the report shows it, with legible outlines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.evaluate.mistake_picture import SIDE, mistake_picture
from edge_infer.evaluate.scores import Mistake
from edge_infer.frames.picture import decode_picture


@pytest.mark.parametrize("width", [60, 478, 640, 4000])
def test_outlines_are_as_wide_in_large_pictures_as_in_small_ones(tmp_path: Path, width: int) -> None:
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), np.zeros((width // 2, width, 3), np.uint8))
    box = (0.25 * width, 0.125 * width, 0.75 * width, 0.375 * width)
    jpeg = mistake_picture(Mistake("missed", "dark.png", str(path), "cat", "", None, box))
    assert jpeg is not None
    drawn = decode_picture(jpeg)
    assert drawn is not None
    assert drawn.shape == (SIDE // 2, SIDE, 3)
    left, right = np.split(np.flatnonzero(drawn[SIDE // 4, :, 1] > 100), 2)  # in the row in the middle
    for columns, share in ((left, 0.25), (right, 0.75)):
        assert len(columns) in (2, 3)
        assert np.abs(columns - SIDE * share).max() <= 2
