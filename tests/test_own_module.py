"""What lies in the working directory is nobody's program here, on any Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.platform.child_process import own_module

PLANTED = "import pathlib, sys\npathlib.Path(__file__).with_name('planted').touch()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory of somebody else's, with modules in it that are ours or Python's."""
    (tmp_path / "edge_infer" / "config").mkdir(parents=True)
    for name in ("edge_infer/__init__.py", "edge_infer/config/__init__.py", "edge_infer/config/__main__.py"):
        (tmp_path / name).write_text(PLANTED.replace("__file__).with_name('planted'", f"{str(tmp_path / 'planted')!r}"))
    for name in ("runpy.py", "argparse.py"):
        (tmp_path / name).write_text(PLANTED)
    return tmp_path


def test_otherwise_it_would_be(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "edge_infer.config", "-h"], cwd=folder, check=False, capture_output=True)
    assert (folder / "planted").exists()


@pytest.mark.parametrize("has_safe_path", [True, False] if sys.version_info >= (3, 11) else [False])
def test_our_module_runs_and_none_of_theirs(folder: Path, has_safe_path: bool) -> None:
    command = own_module("edge_infer.config", "-h", has_safe_path=has_safe_path)
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("usage: python -m edge_infer.config"), done.stderr
    assert done.returncode == 0
    assert not (folder / "planted").exists()


@pytest.mark.long
def test_every_python_that_is_started_searches_no_working_directory() -> None:
    """``sys.executable`` begins a command only here, and where ``-I`` follows."""
    package = Path(own_module.__code__.co_filename).parents[1]
    commands = [
        (file.relative_to(package).as_posix(), ast.unparse(node.elts[1]) if len(node.elts) > 1 else "")
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.List | ast.Tuple) and node.elts and ast.unparse(node.elts[0]) == "sys.executable"
    ]
    assert sorted(commands) == [("platform/child_process.py", "*start"), ("readers/sources/exec.py", "'-I'")]
