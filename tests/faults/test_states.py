"""The short form of ``scripts/faults states``: whoever is in view is never nobody, and what is removed is not there."""

from __future__ import annotations

from pathlib import Path

from tests.faults.orders import orders
from tests.faults.states import Account, false_states


def test_no_subscriber_takes_what_is_false_for_true(tmp_path: Path) -> None:
    said: list[str] = []
    figures = list(false_states(tmp_path / "yard", 1, said.append, {"brisk": 5.0}))
    assert [str(figure) for figure in figures if not figure.kept] == []
    assert figures
    assert all("0 of any length" in figure.note for figure in figures)


def test_an_open_event_has_one_end_in_every_order(tmp_path: Path) -> None:
    said: list[str] = []
    figures = list(orders(tmp_path / "box", 3, said.append))
    assert [str(figure) for figure in figures if not figure.kept] == []
    assert len(figures) == 3
    assert len(said) == 3


def test_what_counts_as_false() -> None:
    """A "nobody" is, however short; a "somebody" is while the pipeline was away."""
    account = Account(gone=[(10.0, 20.0)])
    said = [(0.0, None), (1.0, False), (1.5, False), (4.0, True), (13.0, None), (21.0, True)]
    assert account.false_for(said, 30.0) == ([3.0], [3.0])
    assert account.false_for([(0.0, True)], 30.0) == ([], [10.0])
    assert account.false_for([], 30.0) == ([], [])
