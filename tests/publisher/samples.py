"""A small configuration and messages of it."""

from __future__ import annotations

from typing import Any

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import DetectedObject, Latency, PipelineHealth, Result, SourceHealth, State
from edge_infer.ipc.messages import EngineReport
from edge_infer.plan.records import (
    DecoderPlan,
    EventsPlan,
    InputPlan,
    ModelPlan,
    MqttPlan,
    NmsPlan,
    PipelinePlan,
    Plan,
    SourcePlan,
    TrackPlan,
)

BOOT = "9f2c1a"
SHA = "eac9143a" + "0" * 56
TS = "2026-11-25T08:45:12.345Z"
P = "edge-infer/gate-3"


def mqtt_plan(port: int, **changes: Any) -> MqttPlan:
    plan = MqttPlan("127.0.0.1", port, None, None, None, P, 1, "edge-infer-gate-3")
    return replace(plan, **changes)


def model_plan(name: str = "faces", labels: tuple[str, ...] = ("face", "mask"), sha: str = SHA) -> ModelPlan:
    return ModelPlan(
        name=name, title=f"{name}@1.0.0", version="1.0.0", sha256=sha, path="/nowhere", task="detection",
        decoder=DecoderPlan("blazeface", "m:C"), labels=labels, input=InputPlan(), threshold=0.5, nms=NmsPlan(),
    )  # fmt: skip


def plan(
    mqtt: MqttPlan,
    pipelines: tuple[str, ...] = ("door",),
    model: ModelPlan | None = None,
    state_dir: str = "/proc/nowhere",
) -> Plan:
    model = model or model_plan()
    return Plan(
        digest="0" * 64,
        device="gate-3",
        state_dir=state_dir,
        mqtt=mqtt,
        sources=(SourcePlan("cam", "synthetic", "m:C", live=False, network=False, options={}),),
        pipelines=tuple(pipeline_plan(name, model) for name in pipelines),
    )


def pipeline_plan(name: str, model: ModelPlan) -> PipelinePlan:
    """Return a pipeline whose rates are not limited: tests send as fast as they like."""
    return PipelinePlan(
        name, "cam", model, 0.5, publish="every", track=TrackPlan(), events=EventsPlan(most=1e9)
    )  # fmt: skip


def result(seq: int, boot: str = BOOT, label: str = "face", objects: int = 1, **changes: Any) -> Result:
    found = tuple(DetectedObject(label, round(0.9 - 0.01 * n, 3), (0.0, 0.0, 0.5, 0.5)) for n in range(objects))
    made = Result(1, TS, boot, seq, "faces@1.0.0", SHA[:8], "detection", ms=12.3, objects=found)
    return replace(made, **changes)


def state(count: int, boot: str = BOOT) -> State:
    return State(1, TS, boot, "faces@1.0.0", SHA[:8], counts={"face": count})


def engine_report(boot: str = BOOT) -> EngineReport:
    return EngineReport(
        boot=boot,
        digest="0" * 64,
        pipelines={"door": PipelineHealth(fps=5.0, latency_ms=Latency(10, 20, 30), dropped=1, produced=7)},
        sources={"cam": SourceHealth("ok", 15.0)},
        running={},
    )
