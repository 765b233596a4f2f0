"""What an engine gave after its last report is counted, too."""

from __future__ import annotations

from edge_infer.rooms import NumberedKind, Tally
from edge_infer.supervisor.tallies import HIGHEST, all_numbered

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
    assert all_numbered((Tally("door", "result", 5),), {("door", "result"): 2**63}) == (
        Tally("door", "result", HIGHEST),
    )
