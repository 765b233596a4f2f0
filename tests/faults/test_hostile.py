"""The short form of ``scripts/faults hostile``: hundreds instead of ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.hostile import HOSTILE, Hostility


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_hostile_is_taken_and_nobody_ends(hostile: Callable[[Path, int], Hostility], tmp_path: Path) -> None:
    came = hostile(tmp_path / "place", 500)
    assert came.kept, str(came)
