"""A board that does not run for a while: nobody is killed for the silence, and no model is rolled back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

from edge_infer.supervisor.processes.engine_reports import SILENT
from tests.moody import write_model
from tests.swapping import Swapping, short, swapping

LONG: Final = 2.5 * SILENT


def stall(running: Swapping, seconds: float) -> None:
    """All processes of the daemon stand still for a time, as on a board that swaps or a host that pauses a guest."""
    pids = [running.daemon.pid, *running.daemon.pids().values()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_stalled_board_counts_against_no_process_and_no_model(tmp_path: Path) -> None:
    old, new = write_model(tmp_path / "old.tflite"), write_model(tmp_path / "new.tflite", gain=0.9)
    with swapping(tmp_path / "box", old, fps=5) as running:
        rooms = running.daemon.pids()
        running.edit(new)
        running.model(state="probation", sha=short(new), deadline=60)
        stall(running, LONG)
        committed = running.model(state="active", sha=short(new), deadline=90)
        assert committed["sha"] == short(new)
        assert running.daemon.pids() == rooms
        log = running.daemon.log.read_text()
        assert "sent no heartbeat" not in log
        assert "rolled back" not in log
