"""The writer limits what a page's process can do, whoever runs in it, and however often the writer starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_infer.config.file_edit import current_digest
from edge_infer.drawing import writer
from edge_infer.drawing.edit_limit import MAX_AT_ONCE, SECONDS_EACH, EditLimit, EditLimitError
from edge_infer.drawing.writer import MAX_EDITS, answered
from edge_infer.page import routes

TEXT = """\
pipelines:
  door: {source: cam, model: faces, track: true, zones: {drive: [[0, 0], [1, 0], [1, 1]]}}
  odd: {source: cam, model: pictures}
"""
CORNERS = [[0, 0], [0.5, 0], [0.5, 0.5]]
ZONE = {"what": "zone", "points": CORNERS}


class Box:
    """A configuration beside a daemon that applies or rejects every edit."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = folder / "config.yaml"
        self.config.write_text(TEXT)
        self.rejects = False
        self.now = 1000.0
        self.limit = EditLimit(folder / "edits", lambda: self.now)
        monkeypatch.setattr(writer, "ask", self.ask)

    def ask(self, _socket: Path, body: Mapping[str, Any], timeout: float = 0.0) -> dict[str, Any]:
        """Answers as the daemon."""
        digest = current_digest(self.config)
        applied = {"state": "applied", "digest": digest}
        scene = {"door": {"thresholds": [0.0, 1.0]}, "odd": {"thresholds": None}}
        answers = {"status": {"config": applied}, "scene": {"pipelines": scene}, "reload": applied}
        if body["do"] == "reload" and self.rejects:
            return {"state": "rejected", "digest": digest, "errors": ["no"]}
        return answers[body["do"]]

    def edit(self, *edits: dict[str, Any], pipeline: str = "door", digest: str = "") -> dict[str, Any]:
        """Sends edits to a new writer."""
        request = {"digest": digest or current_digest(self.config), "pipeline": pipeline, "edits": list(edits)}
        return answered(request, self.config, lambda: self.config, self.limit)

    @property
    def zones(self) -> list[str]:
        """The names in the file."""
        return list(yaml.safe_load(self.config.read_text())["pipelines"]["door"]["zones"])


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_a_page_chooses_no_name_of_a_place(box: Box) -> None:
    for edit in ({**ZONE, "name": "c2VjcmV0"}, {**ZONE, "name": "drive", "rename": "c2VjcmV0"}):
        assert box.edit(edit)["kind"] == "request"
    assert box.config.read_text() == TEXT
    assert box.edit(ZONE, ZONE)["done"] == ["pipelines.door.zones.zone-1: added", "pipelines.door.zones.zone-2: added"]
    assert box.zones == ["drive", "zone-1", "zone-2"]


def test_a_page_may_make_a_number_of_edits_and_then_one_a_minute(box: Box) -> None:
    change = {**ZONE, "name": "drive"}
    assert "done" in box.edit(*[change] * (MAX_AT_ONCE - 1))
    assert "done" in box.edit(change)
    text = box.config.read_text()
    refused = box.edit(*[ZONE] * 3)
    assert refused["kind"] == "busy"
    assert refused["error"].endswith("save again in 3 minutes")
    assert box.edit(ZONE)["error"].endswith("save again in 1 minute")
    assert box.config.read_text() == text
    box.now += SECONDS_EACH
    assert "done" in box.edit(ZONE)
    assert box.edit(ZONE)["kind"] == "busy"
    box.now += 2 * MAX_AT_ONCE * SECONDS_EACH
    assert "done" in box.edit(*[change] * MAX_AT_ONCE)
    assert box.edit(ZONE)["kind"] == "busy"


def test_the_next_process_goes_on_counting(box: Box, tmp_path: Path) -> None:
    box.edit(*[ZONE] * 20)
    box.limit = EditLimit(tmp_path / "edits", lambda: box.now)
    assert box.edit(*[{**ZONE, "name": "drive"}] * (MAX_AT_ONCE - 19))["kind"] == "busy"
    (tmp_path / "edits").write_text("broken")
    assert box.edit(ZONE)["kind"] == "busy"


def test_without_a_file_one_process_counts_alone() -> None:
    now = [5.0]
    limit = EditLimit(clock=lambda: now[0])
    limit.count(MAX_AT_ONCE)
    with pytest.raises(EditLimitError):
        limit.count(1)
    now[0] += SECONDS_EACH
    limit.count(1)


def test_only_what_reaches_the_daemon_counts(box: Box) -> None:
    """A conflict or an impossible drawing costs a person nothing; what the daemon rejects is published."""
    for _ in range(MAX_AT_ONCE):
        assert box.edit(ZONE, digest="0" * 64)["kind"] == "conflict"
        assert box.edit({"what": "mask", "name": 7, "points": CORNERS})["kind"] == "request"
    box.rejects = True
    assert box.edit(*[ZONE] * MAX_AT_ONCE)["kind"] == "rejected"
    assert box.edit(ZONE)["kind"] == "busy"
    assert box.config.read_text() == TEXT


def test_a_count_that_cannot_be_stored_allows_no_edit(box: Box, tmp_path: Path) -> None:
    box.limit = EditLimit(tmp_path / "missing" / "edits", lambda: box.now)
    assert box.edit(ZONE)["kind"] == "rejected"
    assert box.config.read_text() == TEXT


def test_a_threshold_that_is_published_as_a_number_is_left_to_an_editor(box: Box) -> None:
    edit = {"what": "threshold", "value": 0.123}
    assert "has no threshold of scores" in box.edit(edit, pipeline="odd")["error"]
    assert box.config.read_text() == TEXT
    assert box.edit(edit)["done"] == ["pipelines.door.threshold: 0.123"]


def test_the_page_passes_on_as_many_edits_as_the_writer_accepts() -> None:
    assert routes.MAX_EDITS == MAX_EDITS
