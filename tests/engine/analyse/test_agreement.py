"""Two findings of one frame, compared."""

from __future__ import annotations

import pytest

from edge_infer.engine.model.agreement import Agreement, Agreements, compare
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Body, Poses
from edge_infer.engine.tasks.regression import MeasuredValue, Measurement
from edge_infer.engine.tasks.segmentation import Filled, SegmentationFindings
from edge_infer.plan.records import ValuePlan


def objects(*found: tuple[str, float, float]) -> Detections:
    """Squares of 10 by label, score and left edge."""
    return Detections(tuple(Detection(a, 0, score, (x, 0, x + 10, 10)) for a, score, x in found), (100, 100))


def test_boxes_match_by_label_and_overlap_from_the_thresholds_on() -> None:
    ours = objects(("cat", 0.9, 0), ("dog", 0.8, 50), ("cat", 0.3, 80))
    theirs = objects(("cat", 0.7, 2), ("dog", 0.8, 58), ("dog", 0.9, 0))
    found = compare(ours, theirs, (0.5, 0.5))
    assert (found.same, found.matched, found.boxes) == (False, 1, 4)
    assert found.differences == pytest.approx((0.2,))
    assert compare(ours, ours, (0.5, 0.5)) == Agreement(True, 2, 2, (0.0, 0.0))
    assert compare(objects(), objects()) == Agreement(True, 0, 0, ())
    assert compare(objects(), ours, (0.5, 0.5)) == Agreement(False, 0, 2, ())


def test_poses_match_by_the_boxes_around_their_points() -> None:
    one = Poses((Body(0.9, ((0, 0, 1), (10, 10, 1))),), (100, 100), "person")
    other = Poses((Body(0.5, ((1, 0, 1), (10, 10, 1))), Body(0.4, ((50, 50, 1), (60, 60, 1)))), (100, 100), "person")
    found = compare(one, other)
    assert (found.same, found.matched, found.boxes) == (False, 1, 2)
    assert found.differences == pytest.approx((0.4,))


def test_other_tasks_compare_what_a_change_is_measured_by() -> None:
    cat, dog = Scored("cat", 0, 0.8), Scored("dog", 1, 0.3)
    found = compare(
        ClassificationFindings((cat,), {"dog": dog.score}), ClassificationFindings((Scored("cat", 0, 0.6),))
    )
    assert found.same
    assert found.differences == pytest.approx((0.2,))
    assert compare(ClassificationFindings((cat,)), ClassificationFindings((dog,))) == Agreement(False)
    assert compare(Deviation(2.0, 3.0), Deviation(4.0, 3.0)) == Agreement(False, differences=(2.0,))
    one, other = (SegmentationFindings((Filled("road", 0, share),)) for share in (0.5, 0.25))
    assert compare(one, other) == Agreement(True, differences=(0.25,))
    plan = ValuePlan("level", step=0.5)
    assert compare(Measurement((MeasuredValue(plan, 1.0),)), Measurement((MeasuredValue(plan, 1.125),))) == Agreement(
        True, differences=(0.125,)
    )
    assert compare(Measurement((MeasuredValue(plan, 1.0),)), Measurement((MeasuredValue(plan, None),))) == Agreement(
        False
    )


def test_sums_over_frames() -> None:
    sums = Agreements()
    assert (sums.same, sums.matched, sums.difference) == (None, None, None)
    sums.add(Agreement(True, 2, 3, (0.1, 0.3)))
    sums.add(Agreement(False, 0, 1))
    assert (sums.frames, sums.same, sums.matched) == (2, 0.5, 0.5)
    assert sums.difference == pytest.approx(0.2)
