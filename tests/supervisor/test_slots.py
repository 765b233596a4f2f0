"""What pipelines can go back to, once the configuration says something else of them."""

from __future__ import annotations

from edge_infer.contract.codec import replace
from edge_infer.models.serving_record import Fit, ServingRecord, Slot
from edge_infer.plan.records import MqttPlan, PipelinePlan, Plan, SignalPlan
from edge_infer.supervisor.rollout.effective_plan import with_slots
from tests.engine.plans import pipeline

NOW = "2026-01-01T00:00:00.000Z"


def plan(*pipelines: PipelinePlan) -> Plan:
    """A configuration of these pipelines."""
    mqtt = MqttPlan("broker", 1883, None, None, None, "edge-infer/box", 1, "box")
    return Plan("ab" * 32, "box", "/nowhere", mqtt, (), pipelines)


def test_a_pipeline_of_another_kind_of_input_has_nothing_to_go_back_to() -> None:
    seen = pipeline()
    felt = replace(seen, model=replace(seen.model, sha256="cd" * 32, input=SignalPlan("raw")))
    record = ServingRecord(slots={seen.name: Slot(Fit.of(seen), None, NOW)})
    assert with_slots(plan(seen), record) == record
    assert with_slots(plan(felt), record).slots == {}
    assert with_slots(plan(), record).slots == {}


def test_a_pipeline_with_another_name_goes_back_to_what_its_model_was() -> None:
    seen = pipeline()
    record = ServingRecord(slots={seen.name: Slot(Fit.of(seen), None, NOW)})
    renamed = replace(seen, name="gate", model=replace(seen.model, sha256="cd" * 32))
    assert with_slots(plan(renamed), record).slots["gate"].committed == Fit.of(seen)


def test_a_model_with_another_name_is_known_by_that() -> None:
    """Should the engine die before it runs, what goes back is a model that the configuration has."""
    seen = pipeline()
    record = ServingRecord(slots={seen.name: Slot(Fit.of(seen), Fit.of(seen), NOW)})
    renamed = replace(seen, model=replace(seen.model, name="renamed"))
    slot = with_slots(plan(renamed), record).slots[seen.name]
    assert slot.committed == Fit.of(renamed)
    assert slot.previous == Fit.of(seen)
