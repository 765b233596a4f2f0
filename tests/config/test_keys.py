"""A key of the configuration that the plan gets as it is written is declared once, in the plan."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from edge_infer.config.schema.keys import planned, values_of, with_keys_of
from edge_infer.contract.codec import Record
from edge_infer.plan import records
from edge_infer.plan.keys import key, keys_of
from edge_infer.yamlfile.section import Section, docstrings


class DoorPlan(Record, frozen=True):
    """A door."""

    width: Annotated[float, key("number", 0.5, 3)]
    """How wide it is."""
    wait: Annotated[float, key("duration", "1s", "1m")] = 5.0
    """How long it stays open,
    in any weather."""
    opened: int = 0


@with_keys_of(DoorPlan)
class Door(Section):
    """A door in a file."""

    name: str = "front"
    """Its name."""


def test_a_section_has_the_keys_of_a_record_after_its_own() -> None:
    assert list(Door.model_fields) == ["name", "width", "wait"]
    assert Door.model_json_schema()["properties"]["wait"] == {
        "anyOf": [
            {"type": "number", "minimum": 1.0, "maximum": 60.0},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|y)$"},
        ],
        "default": "5s",
        "description": "How long it stays open, in any weather.",
    }
    assert Door.model_json_schema()["required"] == ["width"]


def test_the_plan_gets_what_the_file_says() -> None:
    door = Door.model_validate({"width": 1, "wait": "10s"})
    assert values_of(DoorPlan, door) == {"width": 1.0, "wait": 10.0}
    assert planned(DoorPlan, door, opened=3) == DoorPlan(1.0, 10.0, 3)
    assert planned(DoorPlan, door, width=2.0).width == 2.0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"width": 4}, "expected a number between 0.5 and 3, not 4"),
        ({"width": 1, "wait": "2m"}, "expected a duration between 1s and 1m"),
        ({"wait": 1}, "is missing"),
        ({"width": 1, "opened": 1}, "is not known here"),
    ],
)
def test_the_limits_hold(given: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Door.model_validate(given)


def test_every_key_of_the_plan_says_what_it_means() -> None:
    every = [each for each in vars(records).values() if isinstance(each, type) and issubclass(each, Record)]
    declared = {each: keys for each in every if (keys := keys_of(each))}
    assert len(declared) >= 12
    for record, keys in declared.items():
        assert set(keys) <= set(docstrings(record)), record
