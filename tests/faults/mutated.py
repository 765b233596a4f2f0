"""``scripts/faults models``: mutants are made and judged, and some of them go through a running daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from tests.faults import models, reloading

T = TypeVar("T")
SAMPLE: Final = 16
"""Of so many mutants one goes through a running daemon."""


def main(repeat: int, python: str | None) -> int:
    """Prints the tables; 1 when a promise was broken."""
    with tempfile.TemporaryDirectory(prefix="edge-infer-faults-") as name:
        folder = Path(name)
        models.put_sound(folder / "sound", models.assets_folder())
        places = models.write_packages(folder, repeat)
        if python:
            print(f"{len(list(places))} mutants are written", flush=True)
            command = [python, "-m", "tests.faults.models", name]
            return subprocess.run(
                command, cwd=models.ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False
            ).returncode
        tally = _last(models.judge(folder, places, keep=SAMPLE), lambda found: found.tried)
        print("\n".join(tally.lines()), flush=True)
        sample = sorted(place.parent for place in folder.glob("*/fit"))
        reloads = _last(reloading.reload_all(folder / "daemon", sample), lambda found: found.outcomes.total())
        print("\n".join(reloads.lines()))
        return 0 if tally.kept and reloads.kept else 1


def _last(found: Iterator[T], count: Callable[[T], int]) -> T:
    """The last one, telling on the way how far it is."""
    last = None
    for last in found:
        if count(last) % 20 == 0:
            print(f"… {count(last)}", file=sys.stderr, flush=True)
    assert last is not None
    return last
