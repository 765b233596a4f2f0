"""Which shadows may run, and what is said of them and how often."""

from __future__ import annotations

from edge_infer.contract.codec import ABSENT, decode, encode, replace
from edge_infer.contract.messages import ModelStatus, ShadowStatus
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.models.serving_record import OnTrial, ServingRecord
from edge_infer.plan.records import MqttPlan, Plan, ShadowPlan
from edge_infer.supervisor.rollout.shadows import (
    EVERY,
    WAITS,
    Figures,
    asked_again,
    compared,
    ending,
    failed,
    shadowed,
    still_wanted,
)
from tests.engine.plans import pipeline

PIPELINE = pipeline()
OTHER = replace(PIPELINE.model, name="next", sha256="cd" * 32, entry="1")
DOOR = replace(PIPELINE, shadow=ShadowPlan(OTHER, 0.5))
MQTT = MqttPlan("127.0.0.1", 1883, None, None, None, "edge-infer/box", 1, "box")
PLAN = Plan("0" * 64, "box", "/nowhere", MQTT, (), (DOOR, replace(PIPELINE, name="yard")))
RUNS = ShadowStatus("next", "cdcdcdcd", "running", 7)


def report(shadow: ShadowStatus | None) -> EngineReport:
    return EngineReport("abcdef", "", {}, {}, {"door": Running(None, shadow=shadow)})


def test_no_shadow_runs_while_a_model_is_on_probation() -> None:
    trying = ServingRecord(trials={"pets": OnTrial("ab" * 32, "pets@1.0.0", "2026-11-25T08:45:12.345Z")})
    assert shadowed(PLAN, ServingRecord()) == PLAN
    assert shadowed(PLAN, trying).shadows() == ()
    told = compared(trying, [DOOR], report(None))
    assert told is not ABSENT
    assert (told["door"].state, told["door"].reason) == ("starting", WAITS)


def test_one_that_failed_is_off_until_its_entry_changes_or_somebody_asks() -> None:
    off = replace(RUNS, state="off", reason="its fault")
    record = ending(ServingRecord(), failed(PLAN, report(off)), PLAN)
    assert decode(ServingRecord, encode(record)) == record
    assert record.history[-1].why == "«its fault»"
    assert shadowed(PLAN, record).shadows() == ()
    told = compared(record, [DOOR], report(None))
    assert told is not ABSENT
    assert (told["door"].state, told["door"].reason) == ("off", "«its fault»")
    edited = replace(PLAN, pipelines=(replace(DOOR, shadow=ShadowPlan(replace(OTHER, entry="2"), 0.5)),))
    assert shadowed(edited, record) == edited
    assert still_wanted(record, PLAN) == record
    assert still_wanted(record, edited).shadows == {}
    assert shadowed(PLAN, asked_again(record, "next", "pi")) == PLAN
    assert asked_again(record, "pets", "pi") == record


def test_names_and_digests_are_those_of_the_plan_whatever_the_engine_says() -> None:
    told = compared(ServingRecord(), [DOOR], report(replace(RUNS, model="secret")))
    assert told == {"door": RUNS}
    assert compared(ServingRecord(), [DOOR], report(replace(RUNS, sha="00000000"))) == {
        "door": ShadowStatus("next", "cdcdcdcd", "starting")
    }
    assert compared(ServingRecord(), [PIPELINE], report(None)) is ABSENT


def test_figures_are_told_now_and_then_and_what_happens_at_once() -> None:
    figures, status = Figures(), ModelStatus("active", "1", "abababab", shadow={"door": RUNS})
    more = replace(status, shadow={"door": replace(RUNS, frames=9, agreement=0.5)})
    assert figures.settled("pets", status, 0.0) == status
    assert figures.settled("pets", more, EVERY - 1) == status
    off = replace(status, shadow={"door": replace(RUNS, state="off")})
    assert figures.settled("pets", off, EVERY - 1) == off
    assert figures.settled("pets", more, EVERY) == more
    assert figures.settled("pets", status, 2 * EVERY) == status
