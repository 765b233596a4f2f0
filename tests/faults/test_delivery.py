"""The short form of ``scripts/faults delivery``: every promise but those about time, with small numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.audit.packets import PublishPacket
from tests.faults.backlog import drain, long_outage, slow_link
from tests.faults.figure import Figure
from tests.faults.online import returns
from tests.faults.outbox_cuts import age_of_loss, power_cuts
from tests.faults.storm import storm
from tests.faults.witness import Witness

SHORT: dict[str, Callable[[Path], list[Figure]]] = {
    "power cuts": lambda folder: power_cuts(folder, 40),
    "age of what a cut takes": lambda folder: age_of_loss(folder, 3, 20),
    "long outage": lambda folder: long_outage(folder, 6000, 1 << 20),
    "drain": lambda folder: drain(folder, 1500),
    "slow link": lambda folder: slow_link(folder, 60),
    "returns": lambda folder: returns(folder, 1),
    "storm": lambda folder: storm(folder, 4, 2),
}
TIMED = ("seconds", "percent")
"""Names of figures that depend on how fast this machine is just now, have these words in them."""


@pytest.mark.parametrize("what", SHORT)
def test_nothing_is_lost(what: str, tmp_path: Path) -> None:
    if "cut" in what and shutil.which("strace") is None:
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
    assert witness.acknowledged == [PublishPacket("a/b", b"\0\1", b"x")] * 2
