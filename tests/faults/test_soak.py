"""The short form of ``scripts/faults soak``: what a few reloads and kills leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.soak import SOAKS, Growth


@pytest.mark.parametrize("soak", SOAKS)
def test_no_room_grows(soak: Callable[[Path, int], list[Growth]], tmp_path: Path) -> None:
    for growth in soak(tmp_path / "place", 4):
        assert growth.kept, str(growth)
