"""Maximum results, states and events per second of a pipeline, as its configuration determines them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from edge_infer.plan.records import PipelinePlan, Plan, SourcePlan

CHANGES_A_MINUTE: Final = 120
"""Maximum number of results per minute that changes cause; in a cascade, for each object of a frame. The same limit
holds for states."""
CHANGES_AT_ONCE: Final = 30
"""Number of results, and of states, that a pipeline may publish at once after a quiet time."""
RESTED_AFTER: Final = 3600.0
"""Seconds after which a new engine has full budgets again. An engine that starts earlier begins with empty budgets,
because its predecessor may have used up the budgets. The budgets then fill at their rate."""
_BURST_SECONDS: Final = 10.0
"""Seconds of captures that may arrive together, if no budget of the engine limits the burst."""
_STATES_AT_ONCE: Final = 4
"""Number of states that may directly follow each other; later states wait for their rate."""
_JITTER: Final = 4
"""Messages that a burst may contain in addition to the engine's own budget and to one second of the rate."""
Kind: TypeAlias = Literal["result", "state", "event"]
KINDS: Final[tuple[Kind, ...]] = ("result", "state", "event")
DRIFTS_AT_ONCE, DRIFTS_PER_SECOND = 4, 1 / 600
"""Number of drifts that may begin at once in a pipeline after a quiet time, and drifts per second in the long run."""
AFTER_LOSS: Final = 5.0
"""Seconds without a frame after which a source is lost. The next result then comes at once, with any interval."""


@dataclass(frozen=True, slots=True)
class ChannelRates:
    """Messages per second of a pipeline in the long run; None: unlimited.

    ``frames`` are the frames that the pipeline processes. A begin event counts twice, because an end event follows.
    """

    frames: float | None
    results: float | None
    states: float | None
    events: float
    bursts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Number of messages of each kind that may leave at once, in addition to the engine's own budgets."""

    def burst(self, kind: Kind) -> float:
        """Return the number of messages of a kind that may leave at once: infinite without a rate, 0 for the rate 0."""
        return self.bursts[KINDS.index(kind)]


def channel_rates(plan: Plan, pipeline: PipelinePlan) -> ChannelRates:
    """Return the rates of a pipeline."""
    frames, each = frames_a_second(plan, pipeline), pipeline.crops.most if pipeline.crops else 1
    drifts = 2 * DRIFTS_PER_SECOND if pipeline.drift else 0.0
    events = (pipeline.events.most / 60.0 if pipeline.events else 0.0) + drifts
    changes = CHANGES_A_MINUTE / 60.0
    results: float | None
    if pipeline.publish == "off":
        results = 0.0
    elif pipeline.publish == "every" or (pipeline.publish == "interval" and pipeline.crops):
        results = _times(frames, each)
    elif pipeline.publish == "interval":
        results = _least(frames, 1.0 / pipeline.interval + 1.0 / AFTER_LOSS)
    else:
        results = _least(_times(frames, each), changes * each)
    if pipeline.publish == "every":
        states = frames
    elif pipeline.publish == "off" and pipeline.events:
        states = _least(frames, events + 1.0 / pipeline.heartbeat)
    else:
        states = _least(frames, changes)
    by_changes = pipeline.publish == "change" and (frames is None or frames > changes)
    most = (pipeline.events.most if pipeline.events else 0.0) + (2 * DRIFTS_AT_ONCE if pipeline.drift else 0)
    bursts = (
        _burst(results, CHANGES_AT_ONCE * each if by_changes else max(2 * each, _BURST_SECONDS * (results or 0.0))),
        _burst(states, most if pipeline.publish == "off" else _STATES_AT_ONCE),
        _burst(events, most),
    )
    return ChannelRates(frames, results, states, events, bursts)


def frames_a_second(plan: Plan, pipeline: PipelinePlan) -> float | None:
    """Return the maximum frames per second that a pipeline processes; None if nothing limits them.

    Nothing limits a recording that is read as fast as possible, because `fps` selects its frames by the recording's own
    clock.
    """
    source = next((each for each in plan.sources if each.name == pipeline.source), None)
    if source is None or is_unpaced(source):
        return None
    above = next(plan.parents(pipeline), None)
    limits = (pipeline.fps, source.fps, frames_a_second(plan, above) if above else None)
    if above and limits[2] is None:
        return None
    return min((limit for limit in limits if limit is not None), default=None)


def is_unpaced(source: SourcePlan) -> bool:
    """Return whether the source is a recording that is read as fast as possible."""
    return not source.live and source.parent is None and not source.options.get("realtime", source.kind != "images")


def moment_bits(rate: float, step: float) -> float:
    """Return the bits per second that the times of ``rate`` messages per second carry, as multiples of ``step``.

    The rate is an average. The bits are the maximum entropy of the number of messages in each step.
    """
    mean = rate * step
    return ((1 + mean) * math.log2(1 + mean) - mean * math.log2(mean)) / step


def _times(rate: float | None, count: int) -> float | None:
    return None if rate is None else rate * count


def _least(rate: float | None, other: float) -> float:
    return other if rate is None else min(rate, other)


def _burst(rate: float | None, budget: float) -> float:
    """Return the number of messages that may leave at once for a rate, if the engine's own budget holds ``budget``."""
    if not rate:
        return math.inf if rate is None else 0.0
    return math.ceil(budget + min(rate, budget)) + _JITTER
