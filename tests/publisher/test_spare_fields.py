"""Each field of a result, an event and a state is in the bound of hidden data, or the guard sets it."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from edge_infer.contract.codec import ABSENT, decode_json, replace
from edge_infer.contract.messages import DetectedObject, Event, LineCounts, Parent, Result, State, timestamp
from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import StateSnapshot
from edge_infer.plan.channel_bound import _state_bits
from edge_infer.plan.records import EventsPlan, NmsPlan, Plan, SourcePlan, ZonePlan
from edge_infer.platform.clock import kernel_tag
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.result_guard import Admitted, ResultGuard
from edge_infer.publisher.timestamps import Clock
from tests.publisher.samples import SHA, model_plan, mqtt_plan, plan

WALL, NOW = 1_764_000_000.0, 1000.0
TS = timestamp(WALL + NOW)
BOOT = kernel_tag() + "0" * 8
TITLE = "faces@1.0.0"
BOX = (0.0, 0.0, 0.5, 0.5)
COARSE = {"detail": "coarse"}


def configured(task: Any = "detection", most: int = 1, **keys: Any) -> Plan:
    model = replace(model_plan(labels=("face",)), task=task, nms=NmsPlan(max=most))
    made = plan(mqtt_plan(1883), model=model)
    camera = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})
    wanted = {"fps": 2.0, "track": None, "events": EventsPlan(most=600.0), **keys}
    return replace(made, sources=(camera,), pipelines=(replace(made.pipelines[0], **wanted),))


def left(wanted: Plan, message: Result | Event | State) -> bytes | None:
    """Return the bytes of a message that leave, as those of a new publisher's first one."""
    clock = Clock(says=lambda _: True, wall=lambda: WALL + NOW, uptime=lambda: NOW)
    egress = Egress(clock)
    egress.apply(wanted)
    guard = ResultGuard(egress, clock)
    guard.apply(wanted)
    if isinstance(message, State):
        state, at = guard.state(StateSnapshot("door", message, NOW))
        return egress.admit(Place("state", "door"), state, at)
    kind: Any = "event" if isinstance(message, Event) else "result"
    series = MessageSeries("door", BOOT, kind)
    admitted = guard.admit(series, message, NOW, highest=message.seq - 1, is_open=lambda *_: True)
    return admitted.payload if isinstance(admitted, Admitted) else None


PLAIN = {
    Result: Result(1, TS, BOOT, 1, TITLE, SHA[:8], "detection", 12.0, objects=(DetectedObject("face", 0.5, BOX),)),
    Event: Event(1, TS, BOOT, 1, "start", label="face", score=0.5),
    State: State(1, TS, BOOT, TITLE, SHA[:8], TS, counts={"face": 1}),
}
COUNTED: dict[type, set[str]] = {
    Result: {"ts", "seq", "ms", "objects", "more"},
    Event: {"ts", "seq", "type", "score", "since", "reason"},
    State: {"ts", "since", "counts", "reason", "more"},
}
"""Fields that carry something in a detector that follows nothing: its bound counts them."""
OTHER: dict[type, dict[str, list[Any]]] = {
    Result: {
        "classes": [()], "poses": [()], "segments": [()], "anomaly": [], "values": [()],
        "parent": [Parent("door", "face", 0.5, BOX)], "clock": ["unsynced"], "replay": [True], "still": [True],
        "v": [1], "boot": [BOOT], "model": [TITLE, "other"], "sha": [SHA[:8], "0" * 8],
        "task": ["detection", "classification"],
    },
    Event: {
        "label": ["face", ABSENT, "mask"], "id": [1, 2], "zone": ["drive"], "line": ["gate"], "direction": ["left"],
        "box": [BOX], "skipped": [1, 2], "clock": ["unsynced"], "replay": [True], "v": [1], "boot": [BOOT],
        "kind": ["moved", "mix"], "shift": [(0.1, 0.0)],
    },
    State: {
        "ids": [{}, {"face": ()}, {"face": (1,)}], "class_": ["face", None], "anomaly": [None], "values": [(), None],
        "zones": [{}, {"drive": {}}, {"drive": {"face": 1}}], "lines": [{}, {"gate": LineCounts(1, 0)}],
        "answers": [()], "clock": ["unsynced"], "v": [1], "boot": [BOOT], "model": [TITLE], "sha": [SHA[:8]],
    },
}  # fmt: skip
"""Values of all other fields: whatever they are, the same bytes leave, or none. The publisher knows the boot."""


@pytest.mark.parametrize("record", PLAIN)
def test_no_field_is_forgotten(record: type) -> None:
    assert COUNTED[record] | OTHER[record].keys() == set(record.__struct_fields__)  # type: ignore[attr-defined]
    assert not COUNTED[record] & OTHER[record].keys()


@pytest.mark.parametrize(("record", "field"), [(record, field) for record, fields in OTHER.items() for field in fields])
def test_a_field_that_the_bound_does_not_count_carries_nothing(record: type, field: str) -> None:
    wanted, plain = configured(), PLAIN[record]
    found = {left(wanted, plain)}
    for value in OTHER[record][field]:
        try:
            message = replace(plain, **{field: value})
        except ValueError:
            continue  # the closed schema has no such message
        found.add(left(wanted, message))
    assert len(found - {None}) == 1


@pytest.mark.parametrize(
    "keys",
    [{}, {"labels": ("face",)}, {"most": 2}, {"task": "segmentation"}, {"task": "classification"}, COARSE],
    ids=str,
)
def test_no_more_states_leave_than_the_bound_counts(keys: dict[str, Any]) -> None:
    wanted = configured(**keys)
    pipeline = wanted.pipelines[0]
    reasons: list[Any] = [ABSENT, "starting", "source_lost", "source_frozen", "source_ended", "model_changed"]
    reasons += ["engine_failed", "stopped", "config_changed", "removed", "inactive"]
    choices: dict[str, list[Any]] = {
        "since": [ABSENT, TS],
        pipeline.state_key: (
            ["face", None] if pipeline.state_key == "class_" else [{}, {"face": 0}, {"face": 1}, {"face": 2}, None]
        ),
        "reason": reasons,
        "more": [ABSENT, 1, 2, 999],
        **{field: [ABSENT, *values] for field, values in OTHER[State].items() if field in ("ids", "zones", "lines")},
        "answers": [ABSENT, ()],
        "clock": [ABSENT, "unsynced"],
    }
    found = set()
    for values in product(*choices.values()):
        try:
            said = State(1, TS, BOOT, TITLE, SHA[:8], **dict(zip(choices, values, strict=True)))
        except ValueError:
            continue
        found.add(left(wanted, said))
    bits = _state_bits(wanted, pipeline) - math.log2(1 + (1 if pipeline.detail == "coarse" else 5))  # of when it began
    assert 2 < len(found - {None}) <= round(2**bits)


def test_zeros_are_those_of_the_configuration() -> None:
    zone = ZonePlan("drive", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), None, "bottom", None)
    tracked = plan(mqtt_plan(1883)).pipelines[0].track
    wanted = configured(labels=("face",), track=tracked, zones=(zone,))
    said = [replace(PLAIN[State], counts=counts, zones={"drive": counts}) for counts in ({}, {"face": 0}, {"mask": 0})]
    payloads = {left(wanted, each) for each in said}
    assert len(payloads - {None}) == 1
    (payload,) = payloads - {None}
    assert payload is not None
    read = decode_json(State, payload)
    assert (read.counts, read.zones) == ({"face": 0}, {"drive": {"face": 0}})
