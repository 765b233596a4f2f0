"""Processes that read configurations and try models are the kernel's first choice before they take memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.config.in_child import compile_in_child
from edge_infer.doctor.runtime import timed
from edge_infer.models.trials.probe import Probe
from edge_infer.supervisor.processes.helper_process import HelperProcess
from edge_infer.supervisor.processes.output import Output
from tests.broker import eventually
from tests.running import MODEL, config, hidepid

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


PARENT = """
import codecs, os, subprocess, sys
from pathlib import Path

from edge_infer.platform.child_process import go_before
from edge_infer.sandbox.privileges import forbid_dumping

codecs.lookup("ascii")
own, score = sys.argv[1:]
Path("/proc/self/oom_score_adj").write_text(own)
subprocess.run(["true"], start_new_session=True)  # what this imports cannot be read later
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
forbid_dumping()
for _ in range(30):
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as child:
        go_before(child.pid, int(score))
        print(Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip())
        child.kill()
"""


@pytest.mark.parametrize(("own", "score", "found"), [(0, 600, 600), (0, 200, 200), (500, 600, 800), (1000, 200, 1000)])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_kernel_prefers_every_child_to_a_parent_that_is_protected(
    own: int, score: int, found: int, hidden: bool
) -> None:
    words = [*(hidepid(2) if hidden else ()), sys.executable, "-c", PARENT, str(own), str(score)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(found)] * 30
