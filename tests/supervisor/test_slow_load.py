"""A model that takes long to load keeps all threads of the engine waiting; that is no hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.moody import write_model
from tests.swapping import short, swapping

SLOW = '''
"""As the runtime does it with a large model on a small board: no other thread has a turn meanwhile."""

import ctypes

from edge_infer.engine.decoders.classification import Classification


class Slow(Classification):
    def __init__(self, layout):
        ctypes.PyDLL(None).sleep(5)
        super().__init__(layout)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''


def test_a_model_that_takes_long_to_load_is_not_taken_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    about = tmp_path / "slow_to_load-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-to-load\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edge_infer.decoders]\nslow = slow_to_load:Slow\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    old, new = write_model(tmp_path / "old.tflite"), write_model(tmp_path / "new.tflite", gain=0.9)
    manifest = new.with_suffix(".yaml")
    manifest.write_text(manifest.read_text().replace("kind: classification", "kind: slow") + "task: classification\n")
    with swapping(tmp_path / "box", old, fps=60) as running:
        engine = running.daemon.pids()["engine"]
        running.edit(new)
        running.model(state="active", sha=short(new), deadline=90)
        assert running.daemon.pids()["engine"] == engine
        assert "sent no heartbeat" not in running.daemon.log.read_text()
