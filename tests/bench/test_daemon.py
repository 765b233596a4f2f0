"""What the whole daemon takes is measured on real ones; how much it is, is for people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tests.running import CLIP, ROOT


def test_memory_and_starts_of_both_kinds_of_rooms_are_measured(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, assets: Path
) -> None:
    daemon = benchmark("daemon")
    model = next(assets.rglob(daemon.MODEL))
    found = daemon.measure(model, {"clip": f"{{kind: video, file: {CLIP}, loop: true}}"}, 1, tmp_path)
    said = json.loads(found.json())
    assert set(said["starts"]) == {"bare", "separate", "merged", "first"}
    assert set(said["edits"]) == {"applied", "rejected"}
    assert all(len(seconds) == 1 and seconds[0] > 0 for part in ("starts", "edits") for seconds in said[part].values())
    if os.geteuid() == 0:  # nobody else is told
        assert set(said["memory"]["clip separate"]) == {"supervisor", "engine", "publisher"}
        assert set(said["memory"]["clip merged"]) == {"supervisor", "engine"}
        assert all(1 < size < 1000 for sizes in said["memory"].values() for size in sizes.values())
    lines = daemon.table(found).splitlines()
    assert [line[:12] for line in lines[-6:]] == [
        *("first result", "first result", "first start,"), "", *("edit until a", "edit until r"),
    ]  # fmt: skip


def test_without_a_folder_of_models_it_says_what_to_set() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "EDGE_INFER_ASSETS"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.whole"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "EDGE_INFER_ASSETS is not set" in done.stderr
