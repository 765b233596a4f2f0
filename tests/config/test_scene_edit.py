"""Drawings written into a configuration: every style of YAML, comments and order kept, nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.config.scene_edit import DrawingError, drawn, free_name
from edge_infer.errors import ConfigError
from edge_infer.yamlfile.load import parse_document

FILE = Path("config.yaml")
POINTS = [[0.1, 0.1], [0.2, 0.12345], [0.3, 1]]
WRITTEN = "[[0.1, 0.1], [0.2, 0.1235], [0.3, 1]]"
BLOCK = """\
# top
pipelines:
  # the door
  door:   # first
    source: cam
    zones:
      drive: [[0.1, 0.5], [0.9, 0.5], [0.9, 1]]   # to the gate
      yard:    # behind
        polygon:
          - [0, 0]
          - [0.5, 0]
          - [0.5, 0.5]
        loiter: 30s
    mask:
      - - [0, 0]
        - [0.3, 0]
        - [0.3, 1]
      - [[0.7, 0], [1, 0], [1, 1]]   # the neighbour
    # the end of the door
# tail
"""
ZONES = "zones: {a: {polygon: [[0, 0], [1, 0], [1, 1]], labels: [x]}}"
FLOW = f"pipelines: {{door: {{source: cam, mask: [[[0, 0], [0.3, 0], [0.3, 1]]], {ZONES}}}}}  # c\n"
LINE = {"what": "line", "points": [[0.5, 0.2], [0.5, 1]]}


def edited(text: str, *edits: dict[str, Any]) -> str:
    return drawn(FILE, text.encode(), "door", edits)[0].decode()


def zone(name: str | None, points: Any = POINTS, **more: Any) -> dict[str, Any]:
    return {"what": "zone", "name": name, "points": points, **more}


NEW = {"what": "zone", "points": POINTS}


def mask(index: Any, points: Any = POINTS) -> dict[str, Any]:
    return {"what": "mask", "name": index, "points": points}


DRIVE = "      drive: [[0.1, 0.5], [0.9, 0.5], [0.9, 1]]   # to the gate\n"
YARD = BLOCK[BLOCK.index("      yard:") : BLOCK.index("    mask:")]
CORNERS = "          - [0, 0]\n          - [0.5, 0]\n          - [0.5, 0.5]\n"
FIRST = "      - - [0, 0]\n        - [0.3, 0]\n        - [0.3, 1]\n"
SECOND = "      - [[0.7, 0], [1, 0], [1, 1]]   # the neighbour\n"


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (zone("drive"), DRIVE, f"      drive: {WRITTEN}   # to the gate\n"),
        (zone("yard"), f"polygon:\n{CORNERS}", f"polygon: {WRITTEN}\n"),
        (NEW, "        loiter: 30s\n", f"        loiter: 30s\n      zone-1: {WRITTEN}\n"),
        (zone("drive", None), DRIVE, ""),
        (zone("yard", None), YARD, ""),
        (mask(0), FIRST, f"      - {WRITTEN}\n"),
        (mask("1"), SECOND, f"      - {WRITTEN}   # the neighbour\n"),
        (mask(2), SECOND, f"{SECOND}      - {WRITTEN}\n"),
        (mask(0, None), FIRST, ""),
        (mask(1, None), SECOND, ""),
        (LINE, SECOND, f"{SECOND}    lines: {{line-1: {{from: [0.5, 0.2], to: [0.5, 1]}}}}\n"),
        ({"what": "threshold", "value": 0.55}, SECOND, f"{SECOND}    threshold: 0.55\n"),
        ({"what": "threshold", "value": 0.12345}, SECOND, f"{SECOND}    threshold: 0.123\n"),
        ({"what": "track", "value": True}, SECOND, f"{SECOND}    track: true\n"),
    ],
)
def test_only_the_drawn_part_of_a_block_changes(edit: dict[str, Any], before: str, after: str) -> None:
    assert BLOCK.count(before) == 1
    assert edited(BLOCK, edit) == BLOCK.replace(before, after)


@pytest.mark.parametrize(
    ("edits", "body"),
    [
        ([mask(0)], f"source: cam, mask: [{WRITTEN}], {ZONES}"),
        ([mask(1), mask(0, None)], f"source: cam, mask: [{WRITTEN}], {ZONES}"),
        ([mask(0, None), zone("a", None)], "source: cam"),
        ([mask(0, None), zone("a")], f"source: cam, zones: {{a: {{polygon: {WRITTEN}, labels: [x]}}}}"),
        ([mask(0, None), NEW, zone("a", None)], f"source: cam, zones: {{zone-1: {WRITTEN}}}"),
        ([mask(0, None), zone("a", None), LINE, {"what": "threshold", "value": 0.5}],
         "source: cam, lines: {line-1: {from: [0.5, 0.2], to: [0.5, 1]}}, threshold: 0.5"),
    ],
)  # fmt: skip
def test_a_file_in_brackets_stays_in_brackets(edits: list[dict[str, Any]], body: str) -> None:
    assert edited(FLOW, *edits) == f"pipelines: {{door: {{{body}}}}}  # c\n"


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (zone("nobody", None), "the name of one of the zones, or none for a new one"),
        (zone("nobody"), "the name of one of the zones, or none for a new one"),
        (zone("zone-1"), "the name of one of the zones, or none for a new one"),
        ({**LINE, "name": "drive"}, "the name of one of the lines, or none for a new one"),
        (zone("x: {exec"), "the name of one of the zones"),
        ({**NEW, "name": ["drive"]}, "the name of one of the zones"),
        (zone("yard", rename="back"), "rename it in the configuration"),
        ({"what": "zone", "name": "yard", "rename": "back"}, "rename it in the configuration"),
        ({**NEW, "rename": "back"}, "rename it in the configuration"),
        ({"what": "zone", "name": "drive"}, "expected points: a list"),
        (zone(None, None), "expected points: a list"),
        (zone("drive", [[0, 0], [1, 1]]), "3 to 100 points"),
        (zone("drive", [[0, 0], [1, 1], [0, 1.1]]), "between 0 and 1"),
        (zone(None, [[0, 0], [1, 1], [0, float("nan")]]), "between 0 and 1"),
        (zone(None, [[0, 0], [1, 1], ["0", 1]]), "between 0 and 1"),
        (zone(None, "all"), "expected points: a list"),
        (mask(3), "the number of a mask from 0 to 2"),
        (mask(True), "the number of a mask from 0 to 2"),
        (mask(2, None), "there is no mask"),
        ({"what": "threshold", "value": float("nan")}, "a threshold between 0 and 1"),
        ({"what": "threshold", "value": 1.5}, "a threshold between 0 and 1"),
        ({"what": "threshold", "value": True}, "a threshold between 0 and 1"),
        ({"what": "source", "value": "x"}, "as the kind of edit"),
        ({"what": ["mask"]}, "as the kind of edit"),
    ],
)
def test_what_makes_no_sense_is_refused(edit: dict[str, Any], part: str) -> None:
    with pytest.raises(DrawingError, match=part):
        edited(BLOCK, edit)


def test_a_new_place_gets_the_smallest_free_number() -> None:
    text = edited(
        BLOCK, NEW, NEW, NEW, LINE, LINE, zone("zone-2", None), {"what": "line", "name": "line-1", "points": None}
    )
    text = edited(text, NEW, NEW, LINE)
    found = parse_document(FILE, text.encode()).value["pipelines"]["door"]
    assert list(found["zones"]) == ["drive", "yard", "zone-1", "zone-3", "zone-2", "zone-4"]
    assert list(found["lines"]) == ["line-2", "line-1"]


def test_a_pipeline_that_is_not_there_is_named() -> None:
    with pytest.raises(DrawingError, match="has no pipeline gate"):
        drawn(FILE, BLOCK.encode(), "gate", [mask(0)])


@pytest.mark.parametrize(
    "text",
    [
        "pipelines:\n  door: &a {source: cam}\n  other: *a\n",
        "pipelines:\n  door: {source: cam, mask: &m [[[0, 0], [1, 0], [1, 1]]]}\n  other: {mask: *m}\n",
    ],
)
def test_repeated_parts_are_left_to_an_editor(text: str) -> None:
    with pytest.raises(ConfigError, match=r"anchors \(&\) and aliases"):
        edited(text, mask(0))


NUMBERS = st.floats(0, 1, allow_nan=False)
CORNERS_ANY = st.lists(st.tuples(NUMBERS, NUMBERS).map(list), min_size=3, max_size=8)
SHAPES = st.one_of(st.none(), CORNERS_ANY)
EDITS = st.one_of(
    st.builds(zone, st.sampled_from(["drive", "yard", "zone-1", "null", "7", None]), SHAPES),
    st.builds(mask, st.integers(0, 3), SHAPES),
    st.builds(lambda value: {"what": "threshold", "value": value}, st.floats(0, 1)),
)


@given(st.lists(EDITS, max_size=6), st.sampled_from([BLOCK, FLOW]))
def test_any_drawings_in_a_row_change_nothing_else(edits: list[dict[str, Any]], text: str) -> None:
    for edit in edits:
        zones = parse_document(FILE, text.encode()).value["pipelines"]["door"].get("zones", {})
        try:
            text = edited(text, edit)
        except DrawingError:
            continue
        found = parse_document(FILE, text.encode()).value["pipelines"]["door"]
        assert found["source"] == "cam"
        if edit["what"] == "zone" and edit["points"] is not None:
            place = found["zones"][free_name("zone", zones) if edit["name"] is None else edit["name"]]
            corners = place["polygon"] if isinstance(place, dict) else place
            for corner, wanted in zip(corners, edit["points"], strict=True):
                assert corner == pytest.approx(wanted, abs=0.0005)
