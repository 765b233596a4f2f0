"""Interleaved rounds of bare loop and pipeline, so that other load affects both, and the summary of the results."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from edge_infer.bench.runs import Bare, Run, Whole, frames_for
from edge_infer.bench.stages import STAGES, time_stages
from edge_infer.engine.interpreter import DELEGATE, backend_name, left_alone
from edge_infer.frames.frame import Frame
from edge_infer.ipc.channel import Channel
from edge_infer.plan.records import InputPlan, PipelinePlan, Publish

ROUNDS: Final = 5
NOISY: Final = 0.1
"""Spread of the bare loop (interquartile distance over median) above which a machine is too noisy for a result."""
OTHER_THREADS: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Spread:
    """Quartiles of the results of all rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the quartiles of two or more values."""
        low, middle, high = quantiles(values, n=4, method="inclusive")
        return cls(low, middle, high)

    @property
    def share(self) -> float:
        """Return the interquartile distance as a fraction of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Results for one pipeline. Rates are per second, durations in seconds; ``ratio`` is computed for each round.

    ``delegated`` is the fraction of operators that the pipeline's delegate runs, None without a delegate. If the
    delegate runs none, ``delegate_failure`` is the reason. ``not_delegated`` are the operators that neither the
    delegate nor the runtime's own fast path runs.
    """

    name: str
    model: str
    machine: str
    cores: int
    runtime: str
    frame: str
    publish: Publish
    rounds: int
    runs_a_frame: int
    bare: Spread
    pipeline: Spread
    ratio: Spread
    bare_cpu: float
    pipeline_cpu: float
    stages: dict[str, float]
    threads: dict[int, float]
    operators: int
    not_delegated: tuple[str, ...]
    delegated: float | None
    delegate_failure: str
    pss: int

    @property
    def noisy(self) -> bool:
        """Return whether the rounds differ too much for a conclusion."""
        return max(self.bare.share, self.ratio.share) > NOISY


Told = Callable[[str, float], None]
"""Callback that gets the current step and the completed fraction of the whole measurement."""


def measure(
    plan: PipelinePlan,
    size: tuple[int, int],
    seconds: float,
    rounds: int,
    told: Told,
    *,
    channel: Channel,
    clip: Path | None = None,
) -> BenchResult:
    """Measure for about ``seconds`` in total; pictures have width and height ``size``, or come from a ``clip``.

    ``channel`` leads to the process that receives the results, see `taker`.
    """
    told("making frames", 0.0)
    frames = frames_for(plan, size, clip)
    bare, whole = Bare(plan, frames[0]), Whole(plan, frames, clip)
    if isinstance(frames[0], Frame):
        size = frames[0].size
    each = seconds / (2 * rounds + 2)
    pairs: list[tuple[Run, Run]] = []
    try:
        for number in range(rounds):
            told(f"round {number + 1} of {rounds}", 2 * number / (2 * rounds + 2))
            pairs.append((bare.run(each), whole.run(each, channel)))
        steps = bare.interpreter.steps()
        delegated = bare.interpreter.delegated if plan.delegate is not None else None
        rest = left_alone(steps, [tensor.index for tensor in bare.interpreter.outputs])
    finally:
        bare.close()
    told("stages", 2 * rounds / (2 * rounds + 2))
    stages = time_stages(plan, frames, each, clip) | {"wait": median(other.wait for _, other in pairs)}
    told("threads", (2 * rounds + 1) / (2 * rounds + 2))
    threads = {plan.threads: median(one.rate for one, _ in pairs), **_other_threads(plan, frames[0], each)}
    told("", 1.0)
    taken = plan.model.input.takes
    many = plan.model.input.tiles[0] * plan.model.input.tiles[1] if isinstance(plan.model.input, InputPlan) else 1
    return BenchResult(
        name=plan.name,
        model=plan.model.title,
        machine=machine(),
        cores=len(os.sched_getaffinity(0)),
        runtime=backend_name(),
        frame=f"{size[0]}x{size[1]}{' of ' + clip.name if clip else ''}" if isinstance(frames[0], Frame) else taken,
        publish=plan.publish,
        rounds=rounds,
        runs_a_frame=many,
        bare=Spread.of([one.rate for one, _ in pairs]),
        pipeline=Spread.of([other.rate for _, other in pairs]),
        ratio=Spread.of([other.rate * many / one.rate for one, other in pairs]),
        bare_cpu=median(one.cpu for one, _ in pairs),
        pipeline_cpu=median(other.cpu for _, other in pairs),
        stages={stage: stages[stage] for stage in STAGES},
        threads=dict(sorted(threads.items())),
        operators=sum(step.name != DELEGATE for step in steps),
        not_delegated=tuple(rest),
        delegated=delegated,
        delegate_failure=bare.interpreter.failure,
        pss=pss(),
    )


def _other_threads(plan: PipelinePlan, frame: object, seconds: float) -> dict[int, float]:
    """Return the rates of the bare loop with other numbers of threads, up to the number of cores."""
    found = {}
    cores = len(os.sched_getaffinity(0))
    others = [count for count in OTHER_THREADS if count <= cores and count != plan.threads]
    for count in others:
        bare = Bare(plan, frame, count)  # type: ignore[arg-type]
        try:
            found[count] = bare.run(seconds / len(others)).rate
        finally:
            bare.close()
    return found


def machine() -> str:
    """Return the processor's model name, else the machine type."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def pss() -> int:
    """Return the process's memory in bytes: private pages plus its share of shared pages (PSS)."""
    try:
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0
