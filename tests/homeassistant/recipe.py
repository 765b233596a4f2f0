"""The device that deploy/recipes/home-assistant is made for, that of docs/tutorial.md, without a camera."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import State
from edge_infer.ipc.messages import StateSnapshot
from edge_infer.plan.records import EventsPlan, MqttPlan, PipelinePlan, Plan, TrackPlan, ZonePlan
from tests.publisher.samples import BOOT, SHA, TS, model_plan, plan

ROOT = Path(__file__).parents[2]
RECIPE: Final = ROOT / "deploy" / "recipes" / "home-assistant"
PAGE: Final = ROOT / "docs" / "recipes.md"
MODEL: Final = model_plan("objects", ("person",), SHA)


def gate_plan(mqtt: MqttPlan, state_dir: str = "/proc/nowhere") -> Plan:
    """Return the plan with source cam, pipeline yard and zone gate, announced to Home Assistant."""
    gate = ZonePlan("gate", ((0.3, 0.2), (0.8, 0.2), (0.8, 0.8), (0.3, 0.8)), None)
    yard = PipelinePlan("yard", "cam", MODEL, 0.5, track=TrackPlan(), events=EventsPlan(), zones=(gate,))
    return replace(plan(mqtt, state_dir=state_dir), pipelines=(yard,), discovery="homeassistant")


def at_the_gate(count: int | None) -> StateSnapshot:
    """Return the state with this number of persons in the zone, and one more beside it; None: the camera is lost."""
    state = State(1, TS, BOOT, MODEL.title, SHA[:8], counts=None, reason="source_lost")
    if count is not None:
        inside = {"gate": {"person": count} if count else {}}
        state = State(1, TS, BOOT, MODEL.title, SHA[:8], counts={"person": count + 1}, zones=inside)
    return StateSnapshot("yard", state)


def announced_entities(text: str) -> set[str]:
    """Return the ids of the device's entities in a file."""
    return set(re.findall(r"\b(?:binary_sensor|sensor|event)\.gate_3_\w+", text))
