from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_infer.engine.tasks.filtering import CONSIDERED, nms

CORNER = st.floats(0, 1, width=32)
SIDE = st.floats(0.0625, 1, width=32)
CANDIDATES = st.lists(st.tuples(CORNER, CORNER, SIDE, SIDE, st.integers(0, 100), st.integers(0, 2)), max_size=40)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64], limit: float) -> bool:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = np.clip(high - low, 0.0, None).prod()
    return bool(common > limit * ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common))


@given(CANDIDATES, st.sampled_from([0.3, 0.5, 0.7]), st.integers(1, 50))
def test_same_as_one_by_one(found: list[tuple[float, ...]], limit: float, most: int) -> None:
    rows = np.array(found, np.float32).reshape(-1, 6)
    boxes = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4]), axis=1)
    scores, classes = rows[:, 4] / 100, rows[:, 5].astype(np.int32)
    wanted: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        better = [one for one in wanted if classes[one] == classes[index]]
        if not any(overlap(boxes[index].astype(float), boxes[one].astype(float), limit) for one in better):
            wanted.append(index)
    assert nms(boxes, scores, classes, limit, most).tolist() == wanted[:most]


def test_a_flood_is_cut_before_it_costs_anything() -> None:
    random = np.random.default_rng(3)
    low = random.uniform(0, 1, (20000, 2)).astype(np.float32)
    boxes = np.concatenate((low, low + np.float32(1e-4)), axis=1)
    scores = random.uniform(0, 1, 20000).astype(np.float32)
    kept = nms(boxes, scores, np.zeros(20000, np.int32), 0.5, 5000)
    assert len(kept) <= CONSIDERED
    assert scores[kept[0]] == scores.max()


def test_nothing() -> None:
    assert nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), 0.5, 10).size == 0
