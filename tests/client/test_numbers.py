"""Repetitions and gaps, against the plain way of counting them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_infer.client.message_numbers import MOST_BOOTS, MOST_RANGES, NumberRanges, ReceivedNumbers, Series


@given(st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_a_number_counts_once_and_gaps_are_what_lies_between(numbers: list[int], from_one: bool) -> None:
    seen, come = NumberRanges(from_one=from_one), {0} if from_one else set[int]()
    for seq in numbers:
        highest, taken = max(come, default=seq - 1), seen.take(seq)
        assert taken == (None if seq in come else max(0, seq - highest - 1))
        come.add(seq)
        missing = set(range(min(come), max(come))) - come
        assert [seq for first, last in seen.gaps() for seq in range(first, last + 1)] == sorted(missing)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=40))
def test_what_is_left_out_on_purpose_is_no_gap(numbers: list[tuple[int, int]]) -> None:
    seen, come = NumberRanges(from_one=True), {0}
    for seq, skipped in numbers:
        highest = max(come)
        left_out = set(range(max(highest + 1, seq - skipped), seq))
        missing = max(0, seq - highest - 1) - len(left_out)
        assert seen.take(seq, skipped) == (None if seq in come else missing)
        come |= {seq} | left_out
        found = {seq for first, last in seen.gaps() for seq in range(first, last + 1)}
        assert found == set(range(max(come))) - come


def test_gaps_without_end_take_no_memory_without_end() -> None:
    seen = NumberRanges(from_one=True)
    for seq in range(2, 10_000, 2):
        assert seen.take(seq) == 1
    assert len(seen.gaps()) == MOST_RANGES - 1
    assert seen.take(9_997) == 0
    assert seen.take(3) is None, "what was given up does not come back as news"


def series(boot: str, pipeline: str = "door") -> Series:
    return Series("gate-3", pipeline, "result", boot)


def test_what_came_before_us_is_no_gap_and_the_start_of_the_next_boot_is() -> None:
    ledger = ReceivedNumbers()
    assert ledger.take(series("a"), 40, replay=False) == 0
    assert ledger.take(series("a"), 40, replay=True) is None
    assert ledger.take(series("b"), 3, replay=False) == 2
    assert ledger.take(series("c"), 7, replay=True) == 0, "an old boot that is delivered late may have begun before us"
    assert (ledger.repetitions, ledger.gaps()) == (1, {series("b"): [(1, 2)]})
    assert ledger.take(series("b"), 1, replay=True) == 0
    assert ledger.gaps() == {series("b"): [(2, 2)]}


def test_events_have_numbers_of_their_own() -> None:
    ledger = ReceivedNumbers()
    ledger.take(series("a"), 1, replay=False)
    assert ledger.take(series("a")._replace(kind="event"), 1, replay=False) == 0


def test_boots_without_end_take_no_memory_without_end() -> None:
    ledger = ReceivedNumbers()
    for boot in range(1000):
        ledger.take(series(f"{boot:06x}"), 2, replay=False)
    assert len(ledger.gaps()) == MOST_BOOTS
