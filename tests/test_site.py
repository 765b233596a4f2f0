"""The pages of docs/ and their site: its navigation, its generated pages, its pictures, and how long pages are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
KINDS = ["Start", "Tutorial", "Guides", "Reference", "Explanation"]
LONGEST = 1500
LIMITS = {
    "index.md": 300,
    "tutorial.md": 900,
    "architecture.md": 2200,
    # Longer than a page should be; they may not grow, and a lower number takes the place of the old one.
    "models.md": 2050,
    "measured.md": 1700,
    "security.md": 3560,
    "messages.md": 2405,
    "sources.md": 1600,
    "known-gaps.md": 1700,
    "swap-a-model.md": 1750,
}
"""Words outside of examples, for pages whose limit is not `LONGEST`."""
GENERATED = {"cli.md", "payloads.md", "configure.md"}


def entries(part: Any) -> Iterator[str]:
    """The pages in a part of the navigation."""
    if isinstance(part, str):
        yield part
    else:
        for each in part if isinstance(part, list) else part.values():
            yield from entries(each)


def navigation() -> list[Any]:
    found: list[Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(entries(navigation())) == sorted(pages)


def test_the_kinds_of_pages_are_apart() -> None:
    assert [next(iter(each)) for each in navigation()] == KINDS


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md") if path.name not in GENERATED))
def test_a_page_keeps_to_its_length(page: str) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(text.split()) <= LIMITS.get(page, LONGEST)


def test_the_tutorial_is_short_with_its_examples() -> None:
    assert len((DOCS / "tutorial.md").read_text(encoding="utf-8").split()) <= LIMITS["tutorial.md"]


def test_generated_pages_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from reference import PAGES

    for name, made in PAGES.items():
        assert (ROOT / name).read_text(encoding="utf-8") == made(), (
            f"{name} is out of date: python scripts/reference.py"
        )


def test_every_section_of_the_configuration_has_its_table_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from configure_tables import HEAD, SECTIONS, VALUES

    from edge_infer.config.schema.file import Config

    assert {name.partition(".")[0] for name in (*SECTIONS, *VALUES)} >= set(Config.model_fields)
    before = (DOCS / "configure.md").read_text(encoding="utf-8").split(HEAD)[:-1]
    for name, text in zip(SECTIONS, before, strict=True):
        last = [part for part in name.removeprefix("kind: ").split(".") if part != "NAME"][-1] if name else "rooms"
        above = text.rpartition("\n|")[2].partition("\n")[2]  # without the table before
        assert re.search(rf"[`.]{last}`|kind: {last}\b", above), f"the table of {name} is below another heading"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_pictures_are_there_and_described(page: Path) -> None:
    for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert text, f"{target} needs a description"
        assert (page.parent / target).exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("```yaml faulty\na:  # ```json x\n```", "```yaml\na:  # ```json x\n```"),
        (
            "1. one\n   - two\n  - three\n\n```text\n  - four\n```",
            "1. one\n    - two\n    - three\n\n```text\n  - four\n```",
        ),
        (
            "[deploy](../deploy/ansible) and [Install](install.md#a)",
            "deploy (`deploy/ansible`) and [Install](install.md#a)",
        ),
        ("![x](pictures/demo.jpg)", "![x](pictures/demo.jpg)"),
    ],
)
def test_a_page_is_adapted(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from docs_hooks import adapted

    assert adapted(text, "docs") == shown
