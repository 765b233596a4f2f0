"""The record of what serves can always be read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import timestamp
from edge_infer.models.serving_record import (
    APPLIED,
    FILE,
    LONGEST,
    UNREADABLE,
    Fit,
    Happened,
    OnTrial,
    Refusal,
    ServingRecord,
    ShadowEnded,
    Slot,
    open_record,
    read_record,
    remember,
    remembered,
    write_record,
)
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, MqttPlan, NmsPlan, SignalPlan
from tests.publisher.samples import plan as sample

NOW = "2026-11-25T08:45:12.345Z"
SHA = "0" * 64


def fit(size: int) -> Fit:
    """A model whose plan takes so many bytes."""
    decoder = DecoderPlan("blazeface", "edge_infer.engine.decoders.blazeface:BlazeFace", {"x": "A" * size})
    plan = ModelPlan(
        "m", "m@1.0.0", "1.0.0", SHA, "/m.tflite", "detection", decoder, ("a",), InputPlan(), 0.5, NmsPlan()
    )
    return Fit(plan, 0.5, None)


HISTORY = (Happened(NOW, "m", "committed", SHA, "m@1.0.0", "the configuration"),)


def record(**slots: Slot) -> ServingRecord:
    return ServingRecord(slots, {"m": OnTrial(SHA, "m@1.0.0", NOW)}, history=HISTORY)


def test_what_fits_is_kept_as_it_is(tmp_path: Path) -> None:
    whole = record(door=Slot(fit(1 << 20), fit(LONGEST - (2 << 20)), NOW))
    write_record(tmp_path, whole)
    assert read_record(tmp_path) == whole


def test_the_longest_models_of_before_go_first(tmp_path: Path) -> None:
    """Two models of 9 MB each, one on each of two pipelines, made a record that was lost at the next start."""
    small = Slot(fit(100), fit(200), NOW)
    write_record(
        tmp_path, record(door=Slot(fit(300), fit(9 << 20), NOW), yard=Slot(fit(9 << 20), fit(1), NOW), hall=small)
    )
    assert (tmp_path / FILE).stat().st_size <= LONGEST
    found = read_record(tmp_path)
    assert found == record(door=Slot(fit(300), None, NOW), yard=Slot(fit(9 << 20), fit(1), NOW), hall=small)


def test_then_the_longest_models(tmp_path: Path) -> None:
    small = Slot(fit(100), None, NOW)
    slots = {"door": Slot(fit(9 << 20), None, NOW), "yard": Slot(fit(10 << 20), fit(5), NOW), "hall": small}
    write_record(tmp_path, record(**slots))
    assert (tmp_path / FILE).stat().st_size <= LONGEST
    assert read_record(tmp_path) == record(door=slots["door"], hall=small)


REFUSAL = Refusal(SHA, "m@2.0.0", "e", "rolled_back", "requested by root", NOW)


def stored(folder: Path) -> dict[str, Any]:
    """What a daemon with a refused model and two pipelines has written."""
    write_record(folder, served())
    found: dict[str, Any] = json.loads((folder / FILE).read_bytes())
    return found


def served() -> ServingRecord:
    slots = {"door": Slot(fit(1), fit(2), NOW), "yard": Slot(fit(3), fit(4), NOW), "hall": Slot(fit(5), None, NOW)}
    return replace(record(**slots), refused={"m": (REFUSAL,)}, trials={"n": OnTrial(SHA, "n", NOW)})


def test_unknown_keys_of_a_newer_version_lose_no_refusal(tmp_path: Path) -> None:
    found = stored(tmp_path)
    for each in (found, found["refused"]["m"][0], found["trials"]["n"], found["history"][0]):
        each["newer"] = {"any": ["thing"]}
    (tmp_path / FILE).write_text(json.dumps(found))
    assert open_record(tmp_path) == served()
    assert not (tmp_path / UNREADABLE).exists()


def test_a_model_with_a_key_of_a_newer_version_is_no_fallback_and_the_rest_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = stored(tmp_path)
    found["slots"]["door"]["committed"]["model"]["newer"] = 1
    found["slots"]["yard"]["previous"]["model"]["newer"] = 1
    found["history"].append({**found["history"][0], "what": "newer"})
    text = json.dumps(found)
    (tmp_path / FILE).write_text(text)
    (tmp_path / UNREADABLE).write_text("of an earlier time")
    whole = served()
    slots = {"yard": replace(whole.slots["yard"], previous=None), "hall": whole.slots["hall"]}
    assert read_record(tmp_path) == replace(whole, slots=slots)
    assert (tmp_path / UNREADABLE).read_text() == "of an earlier time"
    assert open_record(tmp_path) == replace(whole, slots=slots)
    assert "pipeline door: this version of edge-infer cannot read which model served last" in caplog.text
    assert "pipeline yard: this version of edge-infer cannot read which model served last" not in caplog.text
    assert "pipeline yard: this version of edge-infer cannot read which model it can return to" in caplog.text
    write_record(tmp_path, ServingRecord())
    assert (tmp_path / UNREADABLE).read_text() == text
    assert (tmp_path / UNREADABLE).stat().st_mode & 0o777 == 0o640


OTHER: dict[str, Any] = {"title": "m@3.0.0", "state": "rejected", "reason": "r", "keys": ["k"]}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"state": "newer"}, {}),
        ({"reason": "r" * 100_000}, {"reason": "the reason is unknown to this version", "keys": ()}),
        ({"keys": [3]}, {"reason": "the reason is unknown to this version", "keys": ()}),
        ({"state": 3, "reason": None}, {"reason": "the reason is unknown to this version", "keys": ()}),
        ({"ts": "newer"}, {"reason": "the reason is unknown to this version", "keys": (), "ts": timestamp(0.0)}),
        ({"sha": "newer"}, None),
        ({"identity": 3}, None),
    ],
)
def test_one_refusal_that_cannot_be_read_loses_no_other(
    change: dict[str, Any], left: dict[str, Any] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It still refuses the model, as long as it names it."""
    found = stored(tmp_path)
    found["refused"]["m"].append({**found["refused"]["m"][0], **OTHER, **change})
    (tmp_path / FILE).write_text(json.dumps(found))
    other = [] if left is None else [replace(REFUSAL, **{**OTHER, "keys": ("k",), **left})]
    assert open_record(tmp_path) == replace(served(), refused={"m": (REFUSAL, *other)})
    assert ("m@3.0.0 stays refused, but" in caplog.text) == (left is not None)
    assert ("model m: this version of edge-infer cannot read a stored refusal" in caplog.text) == (left is None)
    assert (tmp_path / UNREADABLE).exists()


def test_one_trial_or_shadow_that_cannot_be_read_loses_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shadows = {name: ShadowEnded("m", SHA, "m@1.0.0", "e", "slow", NOW) for name in ("door", "yard")}
    whole = replace(served(), trials={name: OnTrial(SHA, name, NOW) for name in ("m", "n")}, shadows=shadows)
    write_record(tmp_path, whole)
    found = json.loads((tmp_path / FILE).read_bytes())
    found["trials"]["n"]["starts"] = "newer"
    found["shadows"]["yard"] = 3
    (tmp_path / FILE).write_text(json.dumps(found))
    left = replace(whole, trials={"m": whole.trials["m"]}, shadows={"door": shadows["door"]})
    assert open_record(tmp_path) == left
    assert "model n: this version of edge-infer cannot read its probation" in caplog.text
    assert "pipeline yard: this version of edge-infer cannot read why its shadow failed" in caplog.text


def test_an_entry_with_an_invalid_name_is_lost(tmp_path: Path) -> None:
    found = stored(tmp_path)
    found["slots"]["no/name"] = found["slots"]["door"]
    (tmp_path / FILE).write_text(json.dumps(found))
    record = open_record(tmp_path)
    assert record == served()
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"slots": 3}', '{"history": {}}', '{"refused": 3}'])
def test_what_is_no_record_is_kept_under_another_name(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(text)
    assert open_record(tmp_path) == ServingRecord()
    assert "can" in caplog.text
    assert (tmp_path / UNREADABLE).read_text() == text


def test_an_older_version_reads_a_record_that_uses_nothing_new(tmp_path: Path) -> None:
    """It knows none of the keys that came later, and reads strictly; these have their defaults here."""
    model = replace(fit(1).model, input=SignalPlan("raw", 25.0))
    write_record(tmp_path, ServingRecord({"door": Slot(Fit(model), None, NOW)}, refused={"m": (REFUSAL,)}))
    found = json.loads((tmp_path / FILE).read_bytes())
    assert found.keys() == {"slots", "refused"}
    assert found["slots"]["door"]["committed"]["model"]["input"] == {"features": "raw", "rate": 25.0}
    assert found["refused"]["m"][0].keys() == {"sha", "title", "entry", "state", "reason", "ts"}


def test_the_last_plan_is_refused_for_a_key_that_may_be_a_restriction(tmp_path: Path) -> None:
    mqtt = MqttPlan("127.0.0.1", 1883, None, None, None, "edge-infer/box", 1, "box")
    plan = replace(sample(mqtt), state_dir=str(tmp_path))
    remember(plan)
    assert remembered(tmp_path) == plan
    found = json.loads((tmp_path / APPLIED).read_bytes())
    assert "merged" not in found
    found["pipelines"][0]["newer"] = 1
    (tmp_path / APPLIED).write_text(json.dumps(found))
    assert remembered(tmp_path) is None
