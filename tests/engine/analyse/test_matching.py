"""The boxes of one frame, and whose each is."""

from __future__ import annotations

import numpy as np

from edge_infer.engine.tracking.matching import GATE, UNASSIGNED, Matching, worth
from tests.engine.analyse.moments import box


def test_boxes_are_sure_from_the_threshold_on() -> None:
    matching = Matching.of([box(100, score=0.5), box(300, score=0.49), box(500, label="dog")], 0.5)
    assert (matching.sure, matching.unsure) == ([0, 2], [1])
    assert matching.measured.shape == (3, 4)
    assert matching.classes.tolist() == [0, 0, 1]


def test_what_has_an_owner_is_taken_by_nobody_else() -> None:
    matching = Matching.of([box(100), box(300)], 0.5)
    matching.take(np.array([[-5.0, -1.0], [-9.0, -8.0]]), [0], [0, 1])
    matching.take(np.array([[-5.0, -1.0], [-9.0, -8.0]]), [0, 1], [0, 1])
    assert matching.pairs == {0: 0, 1: 1}
    assert matching.free([0, 1]) == []


def test_a_pair_beyond_the_gate_is_worth_nothing() -> None:
    squared = np.array([[1.0, GATE + 1.0]])
    assert worth(squared, squared + 2.0, UNASSIGNED).tolist() == [[3.0 - UNASSIGNED, 0.0]]
