from __future__ import annotations

import numpy as np
import pytest

from edge_infer.engine.replay.drawing import annotate
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.segmentation import Filled, SegmentationFindings

BOX = Detection("face of somebody", 0, 0.87, (2.0, 3.0, 20.0, 22.0))
BODY = Body(0.8, tuple((i * 1.5, 3e9 if i == 4 else i * 1.2, i / 17) for i in range(17)))
HAND = Body(0.7, ((3.0, 4.0, 0.9), (-1e30, 5.0, 0.9)))
EDGE = Detection("größer", 7, 0.5, (-5.0, 0.0, 1.0, 900.0))


@pytest.mark.parametrize("size", [(24, 24), (28, 400), (320, 240), (4000, 3000)])
@pytest.mark.parametrize(
    "findings",
    [
        Detections((BOX, EDGE), (24, 24)),
        ClassificationFindings((Scored("fox", 3, 0.9),)),
        ClassificationFindings(()),
        SegmentationFindings((Filled("road", 1, 0.4),)),
        Poses((BODY, HAND), (24, 24), "person"),
    ],
)
def test_outcome_is_drawn_at_any_size_and_the_picture_is_left_alone(size: tuple[int, int], findings: Findings) -> None:
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    drawn = annotate(pixels, findings)
    assert (pixels == 40).all()
    assert max(drawn.shape[:2]) >= 480
    assert drawn.shape[0] * size[0] == drawn.shape[1] * size[1]
    changed = (drawn != 40).any(axis=2).sum()
    assert changed > 300, "text, boxes and bodies are there"


def test_bones_join_the_points_that_are_seen() -> None:
    places = {5: (100.0, 100.0, 0.9), 6: (300.0, 100.0, 0.9), 8: (300.0, 300.0, 0.1)}
    body = Body(0.8, tuple(places.get(index, (600.0, 400.0, 0.0)) for index in range(17)))
    drawn = annotate(np.zeros((480, 640, 3), np.uint8), Poses((body,), (640, 480), "person"))
    assert drawn[100, 200].any()
    assert not drawn[200, 300].any()
    assert drawn[298:303, 298:303].any()


def test_box_is_where_the_object_is() -> None:
    drawn = annotate(
        np.zeros((480, 640, 3), np.uint8), Detections((Detection("x", 0, 1.0, (100, 200, 300, 400)),), (640, 480))
    )
    assert drawn[300, 100].any()
    assert drawn[400, 200].any()
    assert not drawn[300, 200].any()
