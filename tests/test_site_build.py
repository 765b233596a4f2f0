"""``scripts/docs`` as a writer runs it: its tools come from the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def test_the_site_is_made_without_a_warning_and_needs_no_network() -> None:
    done = subprocess.run([ROOT / "scripts" / "docs"], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((ROOT / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # and one for what is not found
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"""<(?:script|img|iframe)[^>]*\ssrc=["']?([^"'\s>]+)|<link[^>]*\shref=["']?([^"'\s>]+)""", text
        )
        assert [one or other for one, other in loaded if "//" in (one or other)] == []
        assert not re.search(r"<p>```|<code>```", text), f"{page.name}: a fence is shown as text"


@pytest.mark.parametrize("line", ["[gone](events.md#gone)", "[gone](gone.md)"])
def test_a_broken_link_fails(tmp_path: Path, line: str) -> None:
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "zones.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{line}\n")
    done = subprocess.run(
        [tmp_path / "scripts" / "docs"], env={**os.environ, "DOCS_VENV": str(ROOT / ".venv-docs")},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "zones.md" in done.stdout + done.stderr
