"""The gate of ``scripts/test``: a skip that nobody allowed fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        ("no such camera -- r\nno assets -- r\n", False, 1, "test_marked: Skipped: a mark"),
        ("a mark -- r\nno assets -- r\n", False, 1, "test_away: Skipped: no such camera"),
        ("no such camera -- r\na mark -- r\nno assets -- r\n", True, 1, "test_assets: Skipped: no assets"),
        ("no such camera\n", False, 4, "why that is all right"),
    ],
)
def test_only_named_skips_pass(
    tmp_path: Path, allowed: str, with_assets: bool, code: int, complaint: str | None
) -> None:
    (tmp_path / "test_some.py").write_text(MODULE)
    (tmp_path / "allowed").write_text("# a comment\n\n" + allowed)
    environment = {key: value for key, value in os.environ.items() if key != "EDGE_INFER_ASSETS"}
    if with_assets:
        environment["EDGE_INFER_ASSETS"] = str(tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "--allowed-skips", str(tmp_path / "allowed")]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert complaint is None or complaint in done.stdout + done.stderr


def test_the_list_of_the_project_is_well_formed() -> None:
    from tests.skips import read_allowed

    assert read_allowed(ROOT / "tests" / "allowed-skips")
