"""The gate of ``scripts/test``: a skip that nobody allowed fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import REFUSED

ROOT = Path(__file__).parent.parent
MODULE = """
import pytest

@pytest.fixture
def assets():
    pytest.skip("no assets")

def test_here(): pass
def test_away(): pytest.skip("no such camera")
@pytest.mark.skip(reason="a mark")
def test_marked(): pass
def test_assets(assets): pass
"""


@pytest.mark.parametrize(
    ("allowed", "with_assets", "code", "complaint"),
    [
        ("no such camera -- r\na mark -- r\nno assets -- r\n", False, 0, None),
        ("no such camera -- r\nno assets -- r\n", False, REFUSED, "test_marked: Skipped: a mark"),
        ("a mark -- r\nno assets -- r\n", False, REFUSED, "test_away: Skipped: no such camera"),
        ("no such camera -- r\na mark -- r\nno assets -- r\n", True, REFUSED, "test_assets: Skipped: no assets"),
        ("no such camera\n", False, 4, "why that is all right"),
    ],
)
def test_only_named_skips_pass(
    tmp_path: Path, allowed: str, with_assets: bool, code: int, complaint: str | None
) -> None:
    ended, words = run(tmp_path, allowed, with_assets=with_assets)
    assert ended == code, words
    assert complaint is None or complaint in words


def test_processes_beside_each_other_are_judged_together(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.skip("no board", allow_module_level=True)\n')
    code, words = run(tmp_path, "no such camera -- r\nno assets -- r\n", "-n", "2")
    assert code == REFUSED
    for complaint in ("test_marked: Skipped: a mark", "test_whole.py: Skipped: no board"):
        assert words.count(complaint) == 1


def run(folder: Path, allowed: str, *arguments: str, with_assets: bool = False) -> tuple[int, str]:
    """The exit code and the words of a run over the module and what else lies in the folder."""
    (folder / "test_some.py").write_text(MODULE)
    (folder / "allowed").write_text("# a comment\n\n" + allowed)
    environment = {key: value for key, value in os.environ.items() if key != "EDGE_INFER_ASSETS"}
    if with_assets:
        environment["EDGE_INFER_ASSETS"] = str(folder)
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "--allowed-skips", str(folder / "allowed")]
    done = subprocess.run(
        [*command, *arguments, "--rootdir", str(folder), "-p", "no:cacheprovider", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_list_of_the_project_is_well_formed() -> None:
    from tests.skips import read_allowed

    assert read_allowed(ROOT / "tests" / "allowed-skips")


def test_a_failed_test_does_not_hide_a_refused_skip(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("def test_broken(): assert False\n")
    code, words = run(tmp_path, "no such camera -- r\nno assets -- r\n")
    assert code == REFUSED
    assert "1 failed" in words
