"""The engine with a parent that may not run: what looks closer at it knows nothing either, and says why."""

from __future__ import annotations

import socket
import threading
from typing import Any

from edge_infer.engine.process import Engine
from edge_infer.ipc.activity_table import ActivityTable, new_activity_table
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import (
    Acked,
    ApplyPlan,
    EngineHello,
    EngineReport,
    Grab,
    ModelFile,
    PublisherHello,
    StateSnapshot,
    Stop,
)
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import CropsPlan, MqttPlan, PipelinePlan, Plan, Publish, SourcePlan
from edge_infer.readers.sources import source_target
from tests.broker import eventually
from tests.running import MODEL


def plan(publish: Publish = "change") -> Plan:
    model = resolve(ModelRequest("faces", str(MODEL)))
    options: dict[str, Any] = {"width": 64, "height": 64, "fps": 5.0}
    return Plan(
        "ab" * 32,
        "box",
        "/nowhere",
        MqttPlan("broker", 1883, None, None, None, "edge-infer/box", 1, "box"),
        sources=(
            SourcePlan("cam", "synthetic", source_target("synthetic"), False, False, options),
            SourcePlan("closer", "crops", "", False, False, {}, noisy=False, parent="faces"),
        ),
        pipelines=(
            PipelinePlan("faces", "cam", model, 0.5, publish=publish),
            PipelinePlan("closer", "closer", model, 0.5, crops=CropsPlan("faces")),
        ),
    )


def channels(*theirs: type) -> tuple[Channel, Channel]:
    """The engine's end and ours, which takes these."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(left.detach(), (ModelFile, ApplyPlan, Grab, Stop, PublisherHello, Acked), files=True), Channel(
        right.detach(), theirs
    )


def newest(channel: Channel, kept: list[Any]) -> list[Any]:
    while (record := channel.receive()) is not None:
        kept.append(record)
    return kept


def test_who_looks_closer_at_what_may_not_run_says_that_nothing_is_known() -> None:
    (control, orders), (results, said) = channels(EngineReport), channels(EngineHello, StateSnapshot)
    engine = Engine(control, results, {}, "abcdef", ActivityTable(new_activity_table()))
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    reports, states = list[Any](), list[Any]()
    known = "pipeline faces: engine failed"
    with MODEL.open("rb") as model:
        orders.send(ModelFile(str(MODEL)), (model.fileno(),))
    orders.send(ApplyPlan(plan(), held=("faces",)))
    eventually(
        lambda: any(each.sources["closer"].error == known for each in newest(orders, reports)),
        lambda: str(reports[-1:]),
    )
    assert reports[-1].sources["closer"].state == "lost"
    eventually(
        lambda: any((each.pipeline, each.state.reason) == ("closer", "engine_failed") for each in newest(said, states)),
        lambda: str(states),
        30,
    )
    orders.send(Stop())
    thread.join(30.0)
    assert not thread.is_alive()
    for channel in (control, orders, results, said):
        channel.close()
