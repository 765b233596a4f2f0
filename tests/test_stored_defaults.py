"""The defaults of stored records, which files on devices leave out, stay as they are for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from edge_infer.contract.codec import ABSENT, OneOf, encode, without_defaults
from edge_infer.models.packages.versions import Versions
from edge_infer.models.serving_record import ServingRecord
from edge_infer.models.trials.known_results import Known, Tried
from edge_infer.plan.records import Plan
from edge_infer.supervisor.schedule import Pauses

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tests" / "golden" / "stored_defaults.json"
STORED = (Plan, ServingRecord, Tried, Known, Pauses, Versions)
"""What the calls of `keep_record` write."""
NEVER = (
    "never change such a default; add a new key. Files on devices leave the key out, and their meaning would change. "
    "(Never remove the key either. If the record has another name now, change the name in the file.)"
)


def records(kind: Any, found: set[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """Add all records of which a value of this type can consist."""
    parts = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        parts = () if kind in found else tuple(each.type for each in msgspec.structs.fields(kind))
        found.add(kind)
    elif isinstance(kind, type) and issubclass(kind, OneOf):
        parts = tuple(kind.by_key.values())
    for part in parts:
        records(part, found)
    return found


def defaults(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """Yield ``Record.key`` and the default, as JSON, of each field of a record that has one."""
    for each in msgspec.structs.fields(kind):
        if not each.required:
            value = each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
            shown = "(absent)" if value is ABSENT else encode(without_defaults(value))
            yield f"{kind.__name__}.{each.encode_name}", shown


def found_now() -> dict[str, Any]:
    kinds: set[type[msgspec.Struct]] = set()
    for each in STORED:
        records(each, kinds)
    assert len({kind.__name__ for kind in kinds}) == len(kinds), "two stored records have one name"
    return {key: value for kind in kinds for key, value in defaults(kind)}


def shown(value: Any) -> str:
    """A value as the file has it, where ``1``, ``1.0`` and ``true`` differ."""
    return json.dumps(value, sort_keys=True)


def test_no_default_of_a_stored_record_changes() -> None:
    now = {key: shown(value) for key, value in found_now().items()}
    before = {key: shown(value) for key, value in json.loads(FILE.read_text(encoding="utf-8")).items()}
    changed = [f"{key}: {was} is now {now.get(key, 'gone')}" for key, was in before.items() if now.get(key) != was]
    assert not changed, f"{NEVER}\n" + "\n".join(changed)
    fresh = [f"{json.dumps(key)}: {value}," for key, value in sorted(now.items()) if key not in before]
    assert not fresh, f"add the lines of new keys to {FILE.relative_to(ROOT)}:\n" + "\n".join(fresh)


def test_every_stored_record_is_covered() -> None:
    calls = [
        path.name
        for path in sorted((ROOT / "edge_infer").rglob("*.py"))
        for _ in re.finditer(r"(?<!def )\bkeep_record\(", path.read_text(encoding="utf-8"))
    ]
    assert len(calls) == len(STORED), f"name the records that these files keep in STORED: {calls}"


def test_records_within_records_are_found() -> None:
    now = found_now()
    assert {"PipelinePlan.track", "TrackPlan.lost", "SignalPlan.window", "Pause.until", "Refusal.keys"} <= now.keys()
    assert "Proof.about" not in now  # it has no default
