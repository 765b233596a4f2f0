"""Drift detection of one pipeline: of its camera's pictures and of its model's findings."""

from __future__ import annotations

import hashlib
import logging
import struct
import threading
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeVar

from edge_infer.contract.codec import ABSENT, Record, decode_json, dumps, replace
from edge_infer.contract.messages import DriftHealth, DriftKind, Reason, timestamp
from edge_infer.engine.drift.answers import AnswerNumbers, answer_numbers
from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.outcome import OutcomeWatch
from edge_infer.engine.drift.picture import picture_signals
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.tasks import Findings
from edge_infer.errors import WireError
from edge_infer.frames.frame import Captured, Frame, Instant
from edge_infer.ipc.drift import CameraReference, DriftReference, OutcomeReference, PartDrift, PipelineDrift
from edge_infer.plan.channel_rates import DRIFTS_AT_ONCE, DRIFTS_PER_SECOND
from edge_infer.plan.records import DriftPlan, PipelinePlan, SourcePlan
from edge_infer.platform.rate_limits import MessageBudget

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Record)
Part: TypeAlias = Literal["camera", "answers"]

_OF_RATE: Final = frozenset({"fps", "every", "realtime"})
"""Options of a source that change how often pictures arrive, but not how they look."""
_SENSELESS: Final = (ArithmeticError, ValueError, WireError, struct.error)
KEEP_EVERY: Final = 1800.0
"""Seconds between two references that are sent for storage during learning. Each stored reference costs a write to the
SD card."""


class DriftWatch:
    """Drift detection of one pipeline. The pipeline's thread calls `see`; other threads may call the other methods."""

    def __init__(
        self, name: str, source: SourcePlan, kept: DriftReference | None = None,
        clock: Callable[[], float] = time.monotonic, zone: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:  # fmt: skip
        """``zone`` converts a wall time to the local date and time; the findings are learned by local hour."""
        self._name = name
        self._source = source
        self._kept = kept or DriftReference(name)
        self._lock = threading.Lock()
        self._clock = clock
        self._zone = zone
        self._plan: PipelinePlan | None = None
        self._camera: CameraWatch | None = None
        self._outcome: OutcomeWatch | None = None
        self._told: dict[str, Happening] = {}
        self._seen: dict[str, CameraWatch | OutcomeWatch | None] = {}  # the watch that each reported drift comes from
        self._why: Reason = "config_changed"  # why the last watch was replaced
        self._budget = MessageBudget(60 * DRIFTS_PER_SECOND, DRIFTS_AT_ONCE)
        self._keep_at = clock() + KEEP_EVERY
        self._complete = 0
        self._at = Instant(0.0, 0.0)

    def see(
        self, plan: PipelinePlan, frame: Captured, visible: Callable[[], Captured], findings: Findings, *, still: bool
    ) -> tuple[Happening, ...]:
        """Process a frame and its findings; return the drifts that began or ended.

        ``visible`` returns the frame without the masked areas. ``still``: the model did not run on this frame, so the
        findings are older.
        """
        with self._lock:
            self._at = frame.instant
            try:
                self._see(plan, frame, visible, None if still else answer_numbers(findings))
            except _SENSELESS as error:
                self._plan = plan
                self._forget(error)
            return self._news(self._at)

    def _see(
        self, plan: PipelinePlan, frame: Captured, visible: Callable[[], Captured], numbers: AnswerNumbers | None
    ) -> None:
        if plan is not self._plan:
            self._use(plan)
        now = self._at
        if self._camera is not None and isinstance(frame, Frame) and self._camera.due(now.moment):
            shown = visible()
            if isinstance(shown, Frame):
                self._camera.see(now.moment, picture_signals(shown.pixels))
        if self._outcome is not None and numbers is not None:
            self._outcome.see(now.moment, self._zone(now.wall).tm_hour, numbers)

    def end(self, reason: Reason, now: Instant | None = None) -> tuple[Happening, ...]:
        """End the current drifts for a reason outside the scene.

        ``now`` is the end time of a recording; None: the present.
        """
        with self._lock:
            now = now or Instant(time.monotonic(), time.time())
            return tuple(self._ended(part, now, reason) for part in list(self._told))

    def accept(self, *, camera: bool, outcome: bool) -> None:
        """Discard what was learned about the camera, the findings or both, and start learning again."""
        with self._lock:
            taken, plan, self._plan = self._sound(self._taken), self._plan, None
            self._kept = DriftReference(
                self._name, None if camera else taken.camera, None if outcome else taken.outcome
            )
            self._camera = None if camera else self._camera
            self._outcome = None if outcome else self._outcome
            self._keep_at, self._why = 0.0, "config_changed"
            if plan is not None:
                self._use(plan)

    def reference(self) -> DriftReference | None:
        """Return the reference if it is due for storage, else None."""
        with self._lock:
            complete = sum(each is not None and each.learned >= 1.0 for each in (self._camera, self._outcome))
            if self._plan is None or (self._clock() < self._keep_at and complete == self._complete):
                return None
            learning = complete < sum(each is not None for each in (self._camera, self._outcome))
            self._keep_at = self._clock() + KEEP_EVERY if learning else float("inf")
            self._complete = complete
            return self._sound(self._taken)

    @property
    def watches(self) -> bool:
        """Whether there is a reference to store."""
        return self._camera is not None or self._outcome is not None

    def last_reference(self) -> DriftReference:
        """Return the current reference."""
        with self._lock:
            return self._sound(self._taken)

    def health(self) -> DriftHealth | None:
        """Return the entry of the pipeline in health; None if the pipeline does not watch for drift."""
        camera, outcome = self._camera, self._outcome
        if camera is None and outcome is None:
            return None
        learned = min(each.learned for each in (camera, outcome) if each is not None)
        return DriftHealth(
            ABSENT if camera is None else camera.raised.kind if camera.raised else _calm(camera.learned),
            ABSENT if outcome is None else outcome.raised.kind if outcome.raised else _calm(outcome.learned),
            int(learned * 100) / 100 if learned < 1.0 else ABSENT,
        )

    def scores(self) -> dict[Part, float]:
        """Return for each part the highest ratio of a signal to its threshold."""
        with self._lock:
            return {name: _score(part) for name, part in self._parts().items()}

    def learned(self) -> dict[Part, float]:
        """Return for each part the share of its learning that is complete, 0 to 1."""
        with self._lock:
            return {name: part.learned for name, part in self._parts().items()}

    def _parts(self) -> dict[Part, CameraWatch | OutcomeWatch]:
        parts: dict[Part, CameraWatch | OutcomeWatch | None] = {"camera": self._camera, "answers": self._outcome}
        return {name: part for name, part in parts.items() if part is not None}

    def report(self) -> PipelineDrift | None:
        """Return the comparison of the present with the reference; None if the pipeline does not watch for drift."""
        with self._lock:
            drift = None if self._plan is None else self._plan.drift
            return None if drift is None else self._sound(lambda: self._compared(drift))

    def _compared(self, drift: DriftPlan) -> PipelineDrift:
        camera, outcome = self._camera, self._outcome
        return PipelineDrift(
            camera.raised.kind if camera is not None and camera.raised else None,
            outcome.raised.kind if outcome is not None and outcome.raised else None,
            self._part(camera),
            self._part(outcome),
            None if camera is None or camera.shift is None else _rounded(camera.shift),
            {} if outcome is None else outcome.histograms(),
            drift.false_alarm,
            drift.learn,
        )

    def _sound(self, make: Callable[[], T]) -> T:
        """Return a record that the supervisor accepts: the supervisor ends an engine that sends an invalid one.

        A compromised engine may have sent a reference with any numbers. If they lead to an invalid record, discard the
        whole reference.
        """
        try:
            found = make()
            decode_json(type(found), dumps(found))
        except _SENSELESS as error:
            self._forget(error)
            return make()
        return found

    def _forget(self, error: Exception) -> None:
        log.warning("pipeline %s: drift reference is invalid (%s); learning it again", self._name, error)
        self._kept, plan, self._plan = DriftReference(self._name), self._plan, None
        self._camera = self._outcome = None
        if plan is not None:
            self._use(plan)

    def _part(self, watch: CameraWatch | OutcomeWatch | None) -> PartDrift | None:
        if watch is None:
            return None
        since = None if watch.raised is None else timestamp(self._at.of(self._instant(watch.raised.since)))
        return PartDrift(round(watch.learned, 3), watch.signals(), since)

    def _instant(self, moment: float) -> Instant:
        return Instant(moment, self._at.wall - (self._at.moment - moment))

    def _use(self, plan: PipelinePlan) -> None:
        """Apply the settings of a plan; discard what was learned with settings that have changed."""
        before, kept = self._plan, self._taken() if self._plan is not None else self._kept
        self._plan, self._kept = plan, kept
        if before is not None:
            self._why = "config_changed" if before.model.identity == plan.model.identity else "model_changed"
        if plan.drift is None:
            self._camera = self._outcome = None
            return
        if self._source.gives == "image" and not self._source.stills and plan.crops is None:
            self._camera = self._camera_watch(plan, plan.drift, kept.camera)
        self._outcome = self._outcome_watch(plan, plan.drift, kept.outcome)

    def _camera_watch(self, plan: PipelinePlan, drift: DriftPlan, kept: CameraReference | None) -> CameraWatch:
        basis = _digest(*self._scene(plan))
        if self._camera is not None and self._camera.basis == basis:
            self._camera.expect(drift.false_alarm)
            return self._camera
        if kept is not None and kept.basis == basis:
            try:
                return CameraWatch(basis, drift.false_alarm, kept)
            except _SENSELESS as error:
                log.warning(
                    "pipeline %s: the stored drift reference of the camera is invalid: %s; learning it again",
                    self._name, error,
                )  # fmt: skip
        log.info("pipeline %s: learning the drift reference of the camera", self._name)
        return CameraWatch(basis, drift.false_alarm, CameraReference(basis))

    def _outcome_watch(self, plan: PipelinePlan, drift: DriftPlan, kept: OutcomeReference | None) -> OutcomeWatch:
        model = plan.model
        basis = _digest(*self._scene(plan), [model.identity, plan.threshold], plan.labels, model.nms)
        labels = plan.labels or model.labels
        if self._outcome is not None and self._outcome.basis == basis:
            self._outcome.expect(drift.false_alarm, drift.learn)
            return self._outcome
        if kept is not None and kept.basis == basis:
            try:
                return OutcomeWatch(basis, drift.false_alarm, drift.learn, plan.threshold, labels, kept)
            except _SENSELESS as error:
                log.warning(
                    "pipeline %s: the stored drift reference of the model's answers is invalid: %s; learning it again",
                    self._name, error,
                )  # fmt: skip
        log.info("pipeline %s: learning the drift reference of the answers of model %s", self._name, model.title)
        fresh = OutcomeReference(basis)
        return OutcomeWatch(basis, drift.false_alarm, drift.learn, plan.threshold, labels, fresh)

    def _scene(self, plan: PipelinePlan) -> tuple[object, ...]:
        """Return the settings on which the look of the pictures depends. The frame rate is not among these settings."""
        source = self._source
        options = {name: value for name, value in source.options.items() if name not in _OF_RATE}
        return [source.name, source.target, source.rotate, source.flip], options, plan.mask

    def _taken(self) -> DriftReference:
        camera = self._kept.camera if self._camera is None else self._camera.kept()
        outcome = self._kept.outcome if self._outcome is None else self._outcome.kept()
        return DriftReference(self._name, camera, outcome)

    def _news(self, now: Instant) -> tuple[Happening, ...]:
        """Return the events for drifts that ended or began.

        A begin event is delayed while the budget of events is used up.
        """
        found: list[Happening] = []
        for part, watch in (("camera", self._camera), ("outcome", self._outcome)):
            raised = None if watch is None else watch.raised
            told = self._told.get(part)
            if told is not None and (raised is None or raised.kind != told.kind):
                gone = raised is None and watch is not self._seen.get(part)
                found.append(self._ended(part, now, self._why if gone else None))
                told = None
            if raised is not None and told is None and self._budget.take(self._clock()):
                shift = _rounded(watch.shift) if isinstance(watch, CameraWatch) and watch.shift else None
                begun = Happening("drift", now, self._instant(raised.since), kind=raised.kind, shift=shift)
                self._told[part] = begun
                self._seen[part] = watch
                found.append(begun)
                log.warning("pipeline %s: drift detected: %s%s", self._name, _words(raised.kind), _by(shift))
        return tuple(found)

    def _ended(self, part: str, now: Instant, reason: Reason | None) -> Happening:
        begun = self._told.pop(part)
        assert begun.kind is not None
        log.info("pipeline %s: drift ended: %s", self._name, _words(begun.kind))
        return replace(begun, type="drift_end", when=now, reason=reason, shift=None)


def _calm(learned: float) -> Literal["learning", "ok"]:
    return "ok" if learned >= 1.0 else "learning"


def _score(watch: CameraWatch | OutcomeWatch) -> float:
    """Return the highest ratio of a signal to its threshold; at least 1 until the drift has ended."""
    least = 0.0 if watch.raised is None else 1.0
    return max(least, *(each.score for each in watch.signals().values()), 0.0)


def _digest(*parts: object) -> str:
    return hashlib.sha256(b"\n".join(dumps(part) for part in parts)).hexdigest()[:16]


def _rounded(shift: tuple[float, float]) -> tuple[float, float]:
    return round(shift[0], 2) + 0.0, round(shift[1], 2) + 0.0


def _words(kind: DriftKind) -> str:
    return kind.replace("_", " ")


def _by(shift: tuple[float, float] | None) -> str:
    return "" if shift is None else f" by {shift[0]:+.0%} of the width and {shift[1]:+.0%} of the height"
