"""Made-up scenes with known truth: the short form of ``scripts/events``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_true_event_is_told_once_and_no_other() -> None:
    options = ("--frames", "900", "--events", "0", "--seed", "3", "--no-cost", "--verbose")
    command = [sys.executable, str(ROOT / "scripts" / "events"), *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("0 missed, 0 doubled, 0 invented") == 6
