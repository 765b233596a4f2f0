"""Made-up scenes with known truth: the short form of ``scripts/events``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_true_event_is_told_once_and_no_other() -> None:
    options = ("--frames", "900", "--events", "0", "--seed", "3", "--no-cost", "--no-motion", "--verbose")
    command = [sys.executable, str(ROOT / "scripts" / "events"), *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" 0 missed (0.00%), 0 doubled, 0 invented") == 6


def test_what_motion_saves_and_what_it_costs(assets: Path) -> None:
    """The shares are those of ``scripts/events``; here they are bounds that hold on a busy machine, too."""
    del assets
    command = [sys.executable, str(ROOT / "scripts" / "events"), "--only-motion", "6"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    lines = ran.stdout.splitlines()
    assert len(lines) == 3, ran.stdout + ran.stderr  # further ones name events that differ
    still, moving, cost = lines
    saved = re.search(r"\((\d+)% while it is still\)", still)
    assert saved, ran.stdout + ran.stderr
    assert int(saved[1]) >= 30
    assert "0% of the inferences saved" in moving
    assert ": 0 of " not in moving
    assert "0 of " in moving.partition(";")[2]
    assert "of a run of" in cost
