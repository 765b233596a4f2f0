"""A state directory that a version before records were msgspec's has left: every file is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_infer.contract.codec import decode_json, encode
from edge_infer.models.packages.versions import Versions
from edge_infer.models.serving_record import ServingRecord
from edge_infer.models.trials.known_results import Known, Tried
from edge_infer.plan.records import FurtherInput, Plan
from edge_infer.publisher.allowed_texts import AllowedWords
from edge_infer.publisher.state.open_events import Noted
from edge_infer.publisher.state.retained import Remembered

FOLDER = Path(__file__).parent / "golden" / "state"
FILES = {
    "applied": Plan,
    "serving": ServingRecord,
    "tried": Tried,
    "equipment": Known,
    "versions": Versions,
    "open-events": Noted,
    "topics": Remembered,
    "vocabulary": AllowedWords,
}


def contains(now: object, before: object) -> bool:
    """Whether nothing of what was is missing or another; keys may have come since."""
    if isinstance(now, dict) and isinstance(before, dict):
        return all(key in now and contains(now[key], value) for key, value in before.items())
    if isinstance(now, list) and isinstance(before, list):
        return len(now) == len(before) and all(map(contains, now, before))
    return now == before


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_written_as_it_was(name: str) -> None:
    data = (FOLDER / f"{name}.json").read_bytes()
    found = decode_json(FILES[name], data)
    written = encode(found)
    assert isinstance(written, dict)
    assert contains(written, json.loads(data))


def test_inputs_of_every_kind_are_told_apart() -> None:
    data = (FOLDER / "inputs.json").read_bytes()
    found = [decode_json(FurtherInput, json.dumps(each).encode()) for each in json.loads(data)]
    assert [type(each.plan).__name__ for each in found] == ["InputPlan", "SignalPlan", "TextPlan", "NoneType"]
    assert contains(encode(found), json.loads(data))
