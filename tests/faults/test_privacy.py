"""The short form of ``scripts/faults privacy``; that nothing leaves is what counts, not what the walls cost here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import privacy, walls


def test_nothing_leaves(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can count on network namespaces")
    findings = privacy.audit(tmp_path / "audit", 5.0)
    assert all(finding.kept for finding in findings), "\n".join(map(str, findings))


def test_the_same_detections_are_the_same_bytes_whatever_the_pixels(tmp_path: Path) -> None:
    finding = privacy.other_pixels(tmp_path / "pixels")
    assert finding.kept, str(finding)


def test_the_walls_can_be_weighed(tmp_path: Path) -> None:
    price = walls.price(tmp_path / "price", 2)
    assert all(turn.results > 0 for both in price.rounds for turn in both), str(price)
    assert min(price.memory) > 20 << 20, str(price)
