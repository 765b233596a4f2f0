from __future__ import annotations

import numpy as np
import pytest

from edge_infer.engine.annotate import annotate
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification, Scored
from edge_infer.engine.tasks.detection import Detections, Found

BOX = Found("face of somebody", 0, 0.87, (2.0, 3.0, 20.0, 22.0))
EDGE = Found("größer", 7, 0.5, (-5.0, 0.0, 1.0, 900.0))


@pytest.mark.parametrize("size", [(24, 24), (28, 400), (320, 240), (4000, 3000)])
@pytest.mark.parametrize(
    "findings", [Detections((BOX, EDGE), (24, 24)), Classification((Scored("fox", 3, 0.9),)), Classification(())]
)
def test_outcome_is_drawn_at_any_size_and_the_picture_is_left_alone(size: tuple[int, int], findings: Findings) -> None:
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    drawn = annotate(pixels, findings)
    assert (pixels == 40).all()
    assert max(drawn.shape[:2]) >= 480
    assert drawn.shape[0] * size[0] == drawn.shape[1] * size[1]
    changed = (drawn != 40).any(axis=2).sum()
    assert changed > 500, "text and boxes are there"


def test_box_is_where_the_object_is() -> None:
    drawn = annotate(
        np.zeros((480, 640, 3), np.uint8), Detections((Found("x", 0, 1.0, (100, 200, 300, 400)),), (640, 480))
    )
    assert drawn[300, 100].any()
    assert drawn[400, 200].any()
    assert not drawn[300, 200].any()
