"""docs/configure.md says of every key what the schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.config.schema.file import Config
from tests.config.reference import SECTIONS, VALUES, tables

PAGE = Path(__file__).parents[2] / "docs" / "configure.md"


@pytest.mark.parametrize(("name", "table"), list(tables()), ids=[*VALUES, *SECTIONS])
def test_the_page_has_the_table(name: str, table: str) -> None:
    assert table in PAGE.read_text(encoding="utf-8"), f"docs/configure.md should have for {name}:\n\n{table}"


def test_the_page_has_no_other_table_of_keys() -> None:
    assert PAGE.read_text(encoding="utf-8").count("| key | default | meaning |") == len(SECTIONS) + len(VALUES)


def test_every_section_is_there() -> None:
    assert {name.partition(".")[0] for name in (*SECTIONS, *VALUES)} >= set(Config.model_fields)
