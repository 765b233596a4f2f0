"""The configuration that the installer writes first, by the installer's own function."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_root_changes_nothing_by_name_in_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """A user may own this folder, and put a link to any file there between two steps."""
    installer = (ROOT / "deploy" / "install").read_text()
    functions, calls = tmp_path / "functions", tmp_path / "calls"
    functions.write_text(installer[: installer.index('\nparse "$@"\n')])
    other = tmp_path / "other"
    other.touch(0o600)
    folder = tmp_path / "image/etc/edge-infer"
    folder.mkdir(parents=True)
    (folder / "config.yaml.new").symlink_to(other)
    script = f". {functions}; root={tmp_path}/image; checkout={ROOT}; write_config"
    trace = ["strace", "-f", "-o", calls, "-e", "trace=chmod,fchmodat,fchmodat2,chown,lchown,fchownat,openat"]
    done = subprocess.run([*trace, "bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "faces.mp4" in (folder / "config.yaml").read_text()
    assert (folder / "config.yaml").stat().st_mode & 0o777 == 0o644
    assert (other.stat().st_mode & 0o777, other.read_text()) == (0o600, "")
    seen = [line for line in calls.read_text().splitlines() if "config.yaml.new" in line]
    assert any("openat(" in line and "O_EXCL" in line for line in seen)
    assert [line for line in seen if re.search(r"ch(mod|own)", line)] == []


def test_a_name_in_the_folder_of_the_configuration_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "conf.d").mkdir()
    os.mkfifo(tmp_path / "conf.d" / "\x1b]0;x\x07\nedge-infer: done.yaml")
    words = [sys.executable, "-m", "edge_infer.sandbox.kept_look_ups", str(tmp_path / "config.yaml")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no regular file" in done.stderr
    assert done.stderr.strip().isprintable()
