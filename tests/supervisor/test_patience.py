"""How long the engine may be silent."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import replace
from edge_infer.ipc.messages import ApplyPlan, EngineReport
from edge_infer.plan.records import InputPlan, Measured
from edge_infer.plan.switch_time import SLOWER, UNKNOWN
from edge_infer.supervisor.processes.child import STARTING
from edge_infer.supervisor.processes.engine_reports import SILENT, engine_patience
from tests.engine.plans import pipeline
from tests.publisher.samples import mqtt_plan, plan


def order(measured: Measured, **settings: object) -> ApplyPlan:
    """A plan of one pipeline whose model was measured like this, applied as number 7."""
    door = pipeline()
    door = replace(door, model=replace(door.model, measured=measured, **settings))
    return ApplyPlan(replace(plan(mqtt_plan(1)), pipelines=(door,)), 7)


def report(*loading: str, number: int = 7) -> EngineReport:
    return EngineReport("abcdef", "", {}, {}, {}, order=number, loading=loading)


QUICK, SLOW = Measured(0.01, load=0.2), Measured(1.5, load=2.0)


@pytest.mark.parametrize(
    ("measured", "heard", "trial", "seconds"),
    [
        (QUICK, report(), None, SILENT),
        (QUICK, report(), 3.0, 3.0),
        (QUICK, report(), 60.0, SILENT),
        (SLOW, report(), None, 15.0),
        (SLOW, report(), 3.0, 15.0),
        (Measured(), report(), None, SILENT),
        (QUICK, report("door"), None, SILENT + SLOWER * 0.2),
        (QUICK, report(number=6), None, SILENT + SLOWER * 0.2),
        (Measured(), report("door"), None, SILENT + UNKNOWN),
        (QUICK, None, None, STARTING),
    ],
)
def test_how_long_the_engine_may_be_silent(
    measured: Measured, heard: EngineReport | None, trial: float | None, seconds: float
) -> None:
    assert engine_patience(heard, order(measured), trial) == pytest.approx(seconds)


def test_a_frame_in_tiles_takes_as_many_runs() -> None:
    tiled = order(Measured(0.4, load=0.0), input=InputPlan(tiles=(3, 2)))
    assert engine_patience(report(), tiled, None) == pytest.approx(24.0)
