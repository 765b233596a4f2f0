"""The short form of ``scripts/faults rooms``: every fault twice; that each ends well is what counts, not how soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.rooms import FAULTS, Figure


@pytest.mark.usefixtures("gstreamer")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_daemon_comes_through(fault: Callable[[Path, int], Figure], tmp_path: Path) -> None:
    assert len(fault(tmp_path / "place", 2).seconds) == 2
