"""Shadow models, which are only compared with the model in service: which of them may run, and their published status.

No shadow runs while a model is on probation. A death of the engine therefore counts against the models on probation or,
if there are none, against the shadows. A failed shadow does not run again until its configuration changes or a user
requests a retry.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import ModelStatus, ShadowStatus, timestamp
from edge_infer.errors import quoted, shortened
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.models.serving_record import Happened, ServingRecord, ShadowEnded
from edge_infer.plan.device_limits import (
    CHANGES_AT_ONCE,
    CHANGES_EVERY,
    DELEGATE_DECIMALS,
    FIGURES_EVERY,
    MAX_FIGURE,
    MAX_RATIO,
    RATIO_DECIMALS,
    SHARE_DECIMALS,
)
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.platform.memory import SPARE_BYTES, free_memory
from edge_infer.platform.rate_limits import TokenBucket

EVERY: Final = FIGURES_EVERY
WAITS: Final = "it waits until no model is on probation"
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


def shadowed(plan: Plan, record: ServingRecord) -> Plan:
    """Return the plan with only the shadows that may run."""
    pipelines = [
        replace(each, shadow=None) if record.trials or record.shadow_ended(each) is not None else each
        for each in plan.pipelines
    ]
    return replace(plan, pipelines=tuple(pipelines))


def still_wanted(record: ServingRecord, wanted: Plan) -> ServingRecord:
    """Return the record without ended shadows that the configuration no longer names."""
    kept = {each.name: ended for each in wanted.pipelines if (ended := record.shadow_ended(each)) is not None}
    return replace(record, shadows=kept)


def ending(record: ServingRecord, failed: Mapping[str, str], plan: Plan) -> ServingRecord:
    """Return the record after the shadows of these pipelines have ended. The values of ``failed`` are the reasons."""
    now = timestamp(time.time())
    for pipeline in plan.pipelines:
        if pipeline.name in failed and pipeline.shadow is not None:
            model, reason = pipeline.shadow.model, shortened(failed[pipeline.name])
            ended = ShadowEnded(model.name, model.sha256, model.title, model.entry, reason, now)
            line = Happened(now, model.name, "shadow_off", model.sha256, model.title, "daemon", reason)
            record = replace(record, shadows={**record.shadows, pipeline.name: ended}).told(line)
    return record


def failed(plan: Plan, report: EngineReport) -> dict[str, str]:
    """Return the reasons why the engine has ended shadows, by pipeline."""
    told = {each.name: report.running.get(each.name, Running(None)).shadow for each in plan.pipelines if each.shadow}
    return {
        name: quoted("" if shadow.reason is ABSENT else shadow.reason)
        for name, shadow in told.items()
        if shadow is not None and shadow.state == "off"
    }


def asked_again(record: ServingRecord, name: str, by: str) -> ServingRecord:
    """Return the record in which the shadows of this model may run again."""
    now = timestamp(time.time())
    again = {ended.sha: ended for ended in record.shadows.values() if ended.model == name}
    kept = {pipeline: ended for pipeline, ended in record.shadows.items() if ended.model != name}
    lines = [Happened(now, name, "retry", ended.sha, ended.title, by, "as a shadow") for ended in again.values()]
    return replace(record, shadows=kept).told(*lines)


def compared(
    record: ServingRecord, pipelines: Iterable[PipelinePlan], report: EngineReport, waiting: Mapping[str, str] = NOBODY
) -> Mapping[str, ShadowStatus] | Absent:
    """Return the status of the shadows of these pipelines. Names and digests come from the plan.

    ``waiting`` holds, by pipeline, the reasons why shadows wait.
    """
    found = {}
    for pipeline in pipelines:
        if pipeline.shadow is not None:
            model = pipeline.shadow.model
            running = report.running.get(pipeline.name, Running(None)).shadow
            told = _told(record, pipeline, running, waiting.get(pipeline.name))
            found[pipeline.name] = replace(told, model=model.name, sha=model.sha256[:8])
    return found or ABSENT


def _told(
    record: ServingRecord, pipeline: PipelinePlan, running: ShadowStatus | None, lack: str | None
) -> ShadowStatus:
    assert pipeline.shadow is not None
    name, sha = pipeline.shadow.model.name, pipeline.shadow.model.sha256[:8]
    if (ended := record.shadow_ended(pipeline)) is not None:
        return ShadowStatus(name, sha, "off", reason=ended.reason)
    if record.trials:
        return ShadowStatus(name, sha, "starting", reason=WAITS)
    if lack is not None:
        return ShadowStatus(name, sha, "starting", reason=f"it {lack}")
    if running is None or running.sha != sha:
        return ShadowStatus(name, sha, "starting")
    return running if running.reason is ABSENT else replace(running, reason=shortened(quoted(running.reason)))


@dataclass(slots=True)
class _Told:
    """A published status, its time, the supervisor's decisions at that time, and the buckets of its two limits."""

    at: float
    status: ModelStatus
    decided: object
    claims: TokenBucket
    decisions: TokenBucket


class Figures:
    """Limits how often the published status of a model changes, and the precision of its figures.

    There are three kinds of change. Changes that the supervisor has decided, and changes that follow only from the
    engine's report, are published at once. Each of these two kinds has its own limit, because a compromised engine
    could report another model each time. New figures alone are published at intervals.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._told: dict[str, _Told] = {}

    def settled(self, name: str, status: ModelStatus, now: float, decided: object = None) -> ModelStatus:
        """Return the status to publish now. ``decided`` is everything that the supervisor has decided about models."""
        self._now, status, told = now, _coarse(status), self._told.get(name)
        if told is None:
            self._told[name] = _Told(now, status, decided, self._bucket(), self._bucket())
            return status
        if told.status != status and self._due(told, status, decided):
            told.at, told.status, told.decided = now, status, decided
        return told.status

    def _bucket(self) -> TokenBucket:
        return TokenBucket(CHANGES_AT_ONCE, 1 / CHANGES_EVERY, lambda: self._now)

    def _due(self, told: _Told, status: ModelStatus, decided: object) -> bool:
        if _without_figures(told.status) == _without_figures(status):
            return self._now >= told.at + EVERY
        return (told.decided != decided and told.decisions.take()) or told.claims.take()


def _coarse(status: ModelStatus) -> ModelStatus:
    """Return the status with figures that are rounded to few digits."""
    if isinstance(status.shadow, Mapping):
        status = replace(status, shadow={name: _coarse_figures(each) for name, each in status.shadow.items()})
    if isinstance(status.delegate, Mapping):
        shares = {name: round(each.share, DELEGATE_DECIMALS) for name, each in status.delegate.items()}
        delegates = {name: replace(each, share=shares[name]) for name, each in status.delegate.items()}
        status = replace(status, delegate=delegates)
    return status


def _coarse_figures(shadow: ShadowStatus) -> ShadowStatus:
    changes: dict[str, Any] = {key: _few_digits(getattr(shadow, key)) for key in ("frames", "skipped", "errors")}
    if shadow.agreement is not None:
        changes["agreement"] = round(shadow.agreement, SHARE_DECIMALS)
    if shadow.matched is not ABSENT:
        changes["matched"] = round(shadow.matched, SHARE_DECIMALS)
    for key, decimals in (("difference", RATIO_DECIMALS), ("latency", 2)):
        if (value := getattr(shadow, key)) is not ABSENT:
            changes[key] = _ratio(value, decimals)
    return replace(shadow, **changes)


def _few_digits(count: int) -> int:
    """Return a count rounded down to two significant digits."""
    count = min(count, MAX_FIGURE)
    step: int = 10 ** max(0, len(str(count)) - 2)
    return count // step * step


def _ratio(value: float, decimals: int) -> float:
    """Return a number with two significant digits and at most ``decimals`` decimals."""
    value = min(value, MAX_RATIO)
    return round(value, min(decimals, 1 - math.floor(math.log10(value)))) if value > 0 else 0.0


def _without_figures(status: ModelStatus) -> ModelStatus:
    if not isinstance(status.shadow, Mapping):
        return status
    plain = {
        name: ShadowStatus(each.model, each.sha, each.state, min(each.frames, 1), reason=each.reason)
        for name, each in status.shadow.items()
    }
    return replace(status, shadow=plain)


# Admission of shadow models: one at a time, when the engine loads nothing and enough memory is free.

log = logging.getLogger(__name__)

AGAIN: Final = 10.0
"""Seconds until the next check after there was not enough free memory."""


class Admission:
    """Decides which shadows may be loaded. ``reasons`` holds, by pipeline, why the others wait."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """Read the kernel's files about memory below ``root``."""
        self.reasons: dict[str, str] = {}
        self._root = root
        self._clock = clock
        self._in: set[tuple[str, str]] = set()  # name of each pipeline with the digest of its admitted shadow
        self._plan: Plan | None = None
        self._due = -math.inf

    def admitted(self, plan: Plan) -> Plan:
        """Return the plan with only the admitted shadows; `next_one` admits further ones."""
        asked = {_key(each) for each in plan.pipelines if each.shadow is not None}
        self._plan, self._in = plan, self._in & asked
        waiting = {each.name for each in self._waiting()}
        self.reasons = {name: reason for name, reason in self.reasons.items() if name in waiting}
        pipelines = tuple(replace(each, shadow=None) if each.name in waiting else each for each in plan.pipelines)
        return replace(plan, pipelines=pipelines)

    def next_one(self, report: EngineReport) -> bool:
        """Admit another shadow if the engine loads nothing and enough memory is free.

        Return whether one was admitted.
        """
        if report.loading or (self.reasons and self._clock() < self._due):
            return False
        for pipeline in self._waiting():
            if not (lack := self._lack(pipeline)):
                self._in.add(_key(pipeline))
                return True
            if pipeline.name not in self.reasons:
                log.warning("pipeline %s: its shadow %s", pipeline.name, lack)
            self.reasons[pipeline.name] = lack
            self._due = self._clock() + AGAIN
        return False

    def _waiting(self) -> list[PipelinePlan]:
        pipelines = self._plan.pipelines if self._plan is not None else ()
        return [each for each in pipelines if each.shadow is not None and _key(each) not in self._in]

    def _lack(self, pipeline: PipelinePlan) -> str:
        assert pipeline.shadow is not None
        need, room = pipeline.shadow.model.measured.memory, free_memory(self._root)
        if need is None or room is None or room - need >= SPARE_BYTES:
            return ""
        have, takes, spare = max(0, room) >> 20, -(-need >> 20), SPARE_BYTES >> 20
        figures = f"it needs {takes} MiB, and {spare} MiB of the {have} MiB free have to stay free"
        return f"waits for memory: {quoted(figures)}"  # the engine may influence how much memory is free


def _key(pipeline: PipelinePlan) -> tuple[str, str]:
    assert pipeline.shadow is not None
    return pipeline.name, pipeline.shadow.model.sha256
