from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.engine.preprocess.row_filters import SlidingWindow


@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.lists(st.integers(0, 40), max_size=12),
    st.integers(1, 3),
)
def test_blocks_of_any_sizes_give_the_same_windows(need: int, step: int, sizes: list[int], channels: int) -> None:
    total = sum(sizes)
    rows = np.arange(total * channels, dtype=np.float64).reshape(total, channels)
    gatherer = SlidingWindow(need, step)
    found, start = [], 0
    for size in sizes:
        gatherer.add(rows[start : start + size])
        start += size
        while (window := gatherer.take()) is not None:
            found.append((window[0].copy(), start - window[1]))
    begins = [begin for begin in range(0, total, step) if begin + need <= total]
    assert [end for _, end in found] == [begin + need for begin in begins]
    for (values, _), begin in zip(found, begins, strict=True):
        assert np.array_equal(values, rows[begin : begin + need])


def test_what_was_gathered_can_be_forgotten() -> None:
    gatherer = SlidingWindow(3, 5)
    gatherer.add(np.zeros((4, 1)))
    assert gatherer.take() is not None
    gatherer.clear()
    gatherer.add(np.ones((3, 1)))
    window = gatherer.take()
    assert window is not None
    assert window[0].tolist() == [[1.0]] * 3


def test_of_a_large_block_no_more_is_kept_than_is_needed() -> None:
    gatherer = SlidingWindow(10, 5)
    gatherer.add(np.zeros((100_000, 1)))
    while gatherer.take() is not None:
        pass
    (kept,) = gatherer._blocks
    assert len(kept) < 10
    assert kept.base is None
