"""A configuration with a pipeline of every task, and states of each."""

from __future__ import annotations

from typing import Any

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import STATE_KEYS, Anomaly, LineCounts, Reason, State, Value
from edge_infer.ipc.messages import StateSnapshot
from edge_infer.plan.records import (
    EventsPlan,
    LinePlan,
    ModelPlan,
    MqttPlan,
    PipelinePlan,
    Plan,
    TrackPlan,
    ValuePlan,
    ZonePlan,
)
from tests.publisher.samples import BOOT, TS, model_plan, plan

ODD = 'it\'s "a" {{ robot }} \\ %}é😀'
"""A label that means something to everything it goes through."""
DRIVE = ZonePlan("drive", ((0.1, 0.5), (0.9, 0.5), (0.9, 1.0)), ("person",))
GATE = LinePlan("gate", (0.5, 0.2), (0.5, 1.0))
COCO = tuple(f"thing {number}" for number in range(80))
LEVEL = ValuePlan("level", "l", step=0.1)
ANGLE = ValuePlan("ångle", "°")
COUNT = ValuePlan("n")
MODELS = {
    "people": ("detection", ("person", ODD)),
    "door": ("detection", ("person",)),
    "yard": ("detection", COCO),
    "body": ("pose", ("person",)),
    "floor": ("segmentation", ("road", "grass")),
    "birds": ("classification", ("robin", "wren")),
    "things": ("classification", COCO),
    "pump": ("anomaly", ()),
    "meter": ("regression", ()),
}


def model_of(name: str) -> ModelPlan:
    """A model for the pipeline of this name."""
    task, labels = MODELS[name]
    values = (LEVEL, ANGLE, COUNT) if task == "regression" else ()
    made = model_plan(name, labels, f"{len(name):02x}{name.encode().hex():0<62}"[:64])
    return replace(made, task=task, values=values)


def pipeline_of(name: str) -> PipelinePlan:
    """The one of this name; that of people has a zone and a line."""
    model = model_of(name)
    made = PipelinePlan(name, "cam", model, 0.5)
    if model.task == "detection":
        made = replace(made, track=TrackPlan())
    if name == "people":
        made = replace(made, zones=(DRIVE,), lines=(GATE,))
    return replace(made, events=EventsPlan()) if model.task in ("detection", "classification", "anomaly") else made


def every_task(mqtt: MqttPlan, *names: str, **changes: Any) -> Plan:
    """A plan with these pipelines, by default one of each kind."""
    pipelines = tuple(pipeline_of(name) for name in names or MODELS)
    return replace(plan(mqtt), pipelines=pipelines, discovery="homeassistant", **changes)


def said(name: str, outcome: Any, reason: Reason | None = None) -> StateSnapshot:
    """What the engine says of a pipeline; of people, half are in the zone, and five have crossed the line."""
    model = model_of(name)
    more: dict[str, Any] = {STATE_KEYS[model.task]: outcome} | ({"reason": reason} if reason else {})
    if name == "people" and outcome is not None:
        inside = outcome.get("person", 0) // 2
        more |= {"zones": {"drive": {"person": inside} if inside else {}}, "lines": {"gate": LineCounts(3, 2)}}
    return StateSnapshot(name, State(1, TS, BOOT, model.title, model.sha256[:8], **more))


SAID = {
    "people": {"person": 2, ODD: 1},
    "door": {},
    "yard": {"thing 7": 3, "thing 9": 1},
    "body": {"person": 1},
    "floor": {"grass": 1},
    "birds": "wren",
    "things": None,
    "pump": Anomaly(3.5, 2.0, "anomalous"),
    "meter": (Value("level", 4.2, "l"), Value("ångle", None, "°", implausible=True), Value("n", 7.0, "")),
}
"""An outcome of each."""
