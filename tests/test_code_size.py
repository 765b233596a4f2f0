"""``scripts/code-size`` as a developer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "code-size"


def code_size(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)


def test_help_describes_its_figures() -> None:
    done = code_size("-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: scripts/code-size [-h] [FOLDER]")
    assert "*import share*" in done.stdout


def test_it_counts_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import os\n\nprint(os.name)\n")
    done = code_size(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "logical lines    2\n" in done.stdout
    assert "import share     50.0%\n" in done.stdout


def test_a_folder_without_code_is_named(tmp_path: Path) -> None:
    done = code_size(tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{tmp_path} contains no Python file; name the folder of a package\n")
