"""The short form of ``scripts/faults delivery``: every promise but those about time, with small numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.privacy.packets import Publication
from tests.faults import delivery
from tests.faults.delivery import Figure
from tests.faults.witness import Witness

SHORT: dict[str, Callable[[Path], list[Figure]]] = {
    "power cuts": lambda folder: delivery.power_cuts(folder, 40),
    "long outage": lambda folder: delivery.long_outage(folder, 6000, 1 << 20),
    "drain": lambda folder: delivery.drain(folder, 1500),
    "returns": lambda folder: delivery.returns(folder, 1),
    "storm": lambda folder: delivery.storm(folder, 4, 2),
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


def test_the_witness_tells_what_a_broker_took_over_from_what_was_only_said() -> None:
    connect = bytes([0x10, 10, 0, 4]) + b"MQTT" + bytes([5, 2, 0, 60])
    publishes = [bytes([0x32, 11, 0, 3]) + b"a/b" + bytes([0, number, 2, 1, 1]) + b"x" for number in (1, 2, 3)]
    witness = Witness()
    for step in (1, 1000):  # byte by byte, and all at once
        said = witness.connection()
        stream = connect + b"".join(publishes)
        for at in range(0, len(stream), step):
            said.heard(stream[at : at + step], from_broker=False)
        said.heard(bytes([0x40, 2, 0, 1, 0x40, 3, 0, 2, 0x97]), from_broker=True)  # the second was refused
    assert witness.acknowledged == [Publication("a/b", b"\0\1", b"x")] * 2
