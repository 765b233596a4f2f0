"""Measures the bytes a minute that pipelines publish for a recording, with ``publish: change`` and with ``every``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edge_infer.config.compile.compile import compile_config
from edge_infer.config.recording import recorded
from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import Reason
from edge_infer.engine.replay.replay import KINDS, replay
from edge_infer.errors import ConfigError
from edge_infer.plan.records import PipelinePlan, Plan


def print_traffic(config: Path) -> None:
    """Print a line for each pipeline and kind of message."""
    compiled = compile_config(config)
    if compiled.plan is None:
        raise ConfigError("; ".join(map(str, compiled.problems)))
    for pipeline in (each for each in compiled.plan.pipelines if each.crops is None):
        change, every = (traffic(compiled.plan, replace(pipeline, publish=publish)) for publish in ("change", "every"))
        for kind in ("result", "event", "state"):
            print(
                f"{pipeline.name}: {kind}s with change: {change[kind]:.0f} bytes a minute, with every {every[kind]:.0f}"
            )
        results = every["result"] / max(1.0, change["result"])
        total = every.total() / max(1.0, change.total())
        print(f"{pipeline.name}: change to every is 1 : {results:.1f} of the results, 1 : {total:.1f} of all messages")


def traffic(plan: Plan, pipeline: PipelinePlan) -> Counter[str]:
    """Return the bytes of payloads a minute by kind. Messages that only the end of the recording causes are left
    out."""
    ended: Reason = "source_ended"
    source = recorded(next(source for source in plan.sources if source.name == pipeline.source), None)
    sizes, last = Counter[str](), 0.0
    for replayed in replay((pipeline,), source, "9f2c1a", paced=False):
        last = replayed.frame.wall
        for said in replayed.said:
            if getattr(said, "reason", None) != ended:
                sizes[KINDS[type(said)]] += len(dumps(said))
    return Counter({kind: round(size * 60 / last) for kind, size in sizes.items()})
