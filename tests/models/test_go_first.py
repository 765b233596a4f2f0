"""Processes that read configurations and try models are the kernel's first choice before they take memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.config.in_child import compile_in_child
from edge_infer.doctor.runtime import timed
from edge_infer.models.trials.probe import Probe
from edge_infer.supervisor.processes.helper_process import HelperProcess
from edge_infer.supervisor.processes.output import Output
from tests.broker import eventually
from tests.running import MODEL, config

HOOK = """
import sys
import time
from pathlib import Path

if any(word.startswith("edge_infer.") for word in sys.orig_argv):
    time.sleep(0.3)  # as the start of an interpreter takes on a board


class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "msgspec":
            sys.meta_path.remove(self)
            if not Path(NOTE).exists():  # a later process inherits the preference
                Path(NOTE).write_text(Path("/proc/self/oom_score_adj").read_text())


sys.meta_path.insert(0, Hook())
"""
"""Writes down the preference of the kernel when the first large module is imported."""


def noted(folder: Path) -> bool:
    """Whether the preference is written down."""
    return (folder / "note").exists() and bool((folder / "note").read_text())


def read_by_the_daemon(folder: Path) -> None:
    output = Output("test")
    with HelperProcess("edge_infer.config", str(folder / "config.yaml"), seconds=60.0, output=output):
        eventually(lambda: noted(folder), "first import", 30.0)


def read_by_a_command(folder: Path) -> None:
    assert compile_in_child(folder / "config.yaml").problems


def tried(folder: Path) -> None:
    with Probe() as probe:
        probe.begin()
        eventually(lambda: noted(folder), "first import", 30.0)


def timed_by_doctor(folder: Path) -> None:
    del folder
    timed(MODEL)


@pytest.mark.parametrize("start", [read_by_the_daemon, read_by_a_command, tried, timed_by_doctor])
def test_a_child_that_may_die_is_the_first_to_die_before_it_imports_anything_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[Path], None]
) -> None:
    code, note = tmp_path / "code", tmp_path / "note"
    code.mkdir()
    (code / "sitecustomize.py").write_text(f"NOTE = {str(note)!r}\n{HOOK}")
    (tmp_path / "config.yaml").write_text(config(1883).replace("pipelines:", "pipeline:"))
    monkeypatch.setenv("PYTHONPATH", str(code))
    start(tmp_path)
    assert int(note.read_text()) == 1000
