"""What an engine gave after its last report is counted, too."""

from __future__ import annotations

import pytest

from edge_infer.ipc.messages import NumberedKind, Tally
from edge_infer.supervisor.processes.engine_reports import FURTHEST, HIGHEST, all_numbered, believed

Seen = dict[tuple[str, NumberedKind], int]


def test_numbers_after_the_last_report_count() -> None:
    reported = (Tally("door", "result", 5, 4, 1), Tally("door", "event", 2, 2))
    seen: Seen = {("door", "result"): 9, ("door", "event"): 1, ("yard", "result"): 3}
    assert all_numbered(reported, seen) == (
        Tally("door", "result", 9, 4, 1), Tally("door", "event", 2, 2), Tally("yard", "result", 3),
    )  # fmt: skip


def test_what_no_engine_writes_is_left_out() -> None:
    seen: Seen = {("../door", "result"): 3, ("", "event"): 1, ("yard", "result"): HIGHEST + 1}
    assert all_numbered((), seen) == ()
    known = (Tally("door", "result", HIGHEST - 1),)
    assert all_numbered(known, {("door", "result"): HIGHEST + 1}) == (Tally("door", "result", HIGHEST),)


@pytest.mark.parametrize("seq", [HIGHEST, 2**63, FURTHEST + 6])
def test_numbers_that_no_engine_can_have_reached_are_not_believed(seq: int) -> None:
    """An engine in wrong hands left 2**53 as it died, and status said for good that so many results were lost."""
    reported = (Tally("door", "result", 5, 4, 1),)
    assert all_numbered(reported, {("door", "result"): seq, ("yard", "event"): seq}) == reported
    assert all_numbered(reported, {("door", "result"): FURTHEST + 5}) == (Tally("door", "result", FURTHEST + 5, 4, 1),)


@pytest.mark.parametrize(
    "lie",
    [Tally("door", "result", HIGHEST), Tally("door", "result", 6, HIGHEST), Tally("door", "result", 6, 5, HIGHEST)],
)
def test_neither_are_they_in_a_report(lie: Tally) -> None:
    before = (Tally("door", "result", 5, 4, 1),)
    after, new = Tally("door", "result", 6, 5, 1), Tally("yard", "result", 1)
    assert believed(before, (after, new)) == (after, new)
    assert believed(before, (lie, new)) == (*before, new)
    assert believed((), (lie, new)) == (new,)
