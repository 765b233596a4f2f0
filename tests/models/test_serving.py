"""The record of what serves can always be read again."""

from __future__ import annotations

from pathlib import Path

from edge_infer.models.serving_record import (
    FILE,
    LONGEST,
    Fit,
    Happened,
    OnTrial,
    ServingRecord,
    Slot,
    read_record,
    write_record,
)
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, NmsPlan

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
