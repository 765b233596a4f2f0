"""Replaces a source in an audit by one with the same name and kind that gives the pattern."""

from __future__ import annotations

from typing import Final

from edge_infer.audit.canary import Canary
from edge_infer.contract.codec import JsonValue, replace
from edge_infer.plan.records import Plan, SignalPlan, SourcePlan
from edge_infer.platform.child_process import own_module

_WIDTH, _HEIGHT = 640, 480
_RATE: Final = 50.0
"""Samples per second for models without a sample rate of their own."""


def stand_in(source: SourcePlan, canary: Canary, plan: Plan) -> SourcePlan:
    """Return a live source without network access, so that it runs in a sandboxed reader."""
    if source.parent is not None:  # such a source reads crops from another pipeline
        return source
    if source.gives == "image":
        return _camera(source, canary)
    options: dict[str, JsonValue] = {"pattern": canary.text()}
    name = "PatternLines"
    if source.gives == "samples":
        name = "PatternSamples"
        options |= _signal(source, plan)
    target = f"edge_infer.audit.sensors:{name}"
    return replace(
        source, kind="synthetic", target=target, live=True, network=False, options=options, noisy=False, stdin=False
    )


def _signal(source: SourcePlan, plan: Plan) -> dict[str, JsonValue]:
    """Return the rate and number of channels that suit every model that uses the source."""
    heard = [one.model.input for one in plan.pipelines if one.source == source.name]
    signals = [each for each in heard if isinstance(each, SignalPlan)]
    rate = max((each.rate or _RATE for each in signals), default=_RATE)
    channels = max((max(each.channels, each.width) for each in signals), default=1)
    return {"rate": rate, "channels": channels}


def _camera(source: SourcePlan, canary: Canary) -> SourcePlan:
    words = own_module("edge_infer.audit.camera", str(_WIDTH), str(_HEIGHT), canary.text())
    options: dict[str, JsonValue] = {
        "command": [*words],
        "width": _WIDTH,
        "height": _HEIGHT,
        "format": "rgb24",
        "network": False,
    }
    target = "edge_infer.readers.sources.exec:ExecSource"
    return replace(source, kind="exec", target=target, live=True, network=False, options=options, stdin=False)
