"""Which boxes begin an object."""

from __future__ import annotations

from edge_infer.engine.tracking.matching import Matching, births
from tests.engine.analyse.moments import box


def test_sure_boxes_of_nobody_the_best_first() -> None:
    objects = [box(100, score=0.6), box(300, score=0.9), box(500, score=0.3), box(700, score=0.8)]
    matching = Matching.of(objects, 0.5)
    matching.pairs[0] = 3
    assert births(objects, matching) == [1, 0]


def test_what_lies_on_a_better_one_or_on_what_is_known_is_its_double() -> None:
    objects = [box(100, score=0.6), box(101, label="dog", score=0.9), box(300), box(301, label="dog")]
    matching = Matching.of(objects, 0.5)
    matching.pairs[0] = 2
    assert births(objects, matching) == [1]
