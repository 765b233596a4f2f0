"""Tracking stage: turns the findings of single frames into tracked findings and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from edge_infer.contract.messages import Reason
from edge_infer.engine.events.decision_record import Decisions
from edge_infer.engine.events.event_ledger import EventLedger, Happening
from edge_infer.engine.events.reasons import ResultReasons
from edge_infer.engine.events.scene import Scene
from edge_infer.engine.events.spells import Spells
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Instant
from edge_infer.frames.geometry import Box
from edge_infer.plan.records import PipelinePlan

if TYPE_CHECKING:
    from edge_infer.engine.cascade.answers import Answers
    from edge_infer.engine.cascade.sighting import Key, Sighted
    from edge_infer.frames.frame import Captured

ANOMALY: Final = None
"""Label key of an anomaly, which has no label."""
NAMED: Final = 5
"""Maximum labels listed in a sentence, and maximum labels beyond ``top_k`` that are recorded in one frame."""


class Follow:
    """Tracks objects, labels or an anomaly from frame to frame, as the plan of a pipeline requires."""

    def __init__(self, plan: PipelinePlan, new_number: Callable[[], int]) -> None:
        self.decisions = Decisions()
        self._plan = plan
        self._ledger = EventLedger(plan.events, self.decisions)
        self._scene = Scene(plan, self._ledger, new_number) if plan.track else None
        self._spells = make_spells(plan, self._ledger)
        self.published = ResultReasons(plan, self.decisions)
        """To be called with the findings of each frame, and whether they were published as a result."""
        self._other_label = f"left out: labels keeps only {_few(plan.labels)}"
        self._beyond_top_k = f"left out of the result: top_k is {plan.top_k}, and as many labels had a higher score"

    def asks(self, frame: Captured) -> tuple[Captured, ...]:
        """Return the inputs of the model: the frame itself or, in a cascade, crops of some of its objects."""
        return (frame,)

    def __call__(
        self, findings: Findings, now: Instant, parent: Sighted | None = None, covers: float = 0.0
    ) -> tuple[Findings, tuple[Happening, ...]]:
        """Return the findings with tracking data, and new events; in a cascade the findings are about ``parent``.

        For a window of a signal, ``covers`` is its length in seconds. The window ends at ``now``.
        """
        del parent
        self._note_limits(findings, now)
        if self._scene is not None and isinstance(findings, Detections):
            return self._scene(findings, now)
        if self._spells is not None and isinstance(findings, ClassificationFindings):
            return findings, self._spells(findings.scores, now, covers)
        if self._spells is not None and isinstance(findings, Deviation):
            return findings, self._spells({ANOMALY: findings.score}, now, covers)
        return findings, ()

    def inherit(self, before: Follow) -> None:
        """Continue for a predecessor that has ended its open events: take over its record and its line counts."""
        self.decisions.inherit(before.decisions)
        if self._scene is not None and before._scene is not None:
            self._scene.inherit(before._scene)

    def _note_limits(self, findings: Findings, now: Instant) -> None:
        """Record findings above the threshold that ``labels`` or ``top_k`` excludes from the result."""
        if not isinstance(findings, (Detections, ClassificationFindings)):
            return
        for label, score in findings.left_out:
            self.decisions.note(now.wall, label, score, "label", self._other_label)
        if isinstance(findings, ClassificationFindings) and findings.near:
            for name, score in islice(findings.near.items(), NAMED):
                if score >= self._plan.threshold:
                    self.decisions.note(now.wall, name, score, "top_k", self._beyond_top_k)

    def settled(self, now: Instant) -> tuple[Answers | None, tuple[Happening, ...]]:
        """In a cascade, return the state after all crops of a frame, and new events."""
        del now
        return None, ()

    def known(self) -> frozenset[Key]:
        """In a cascade, return the keys of the objects that have an answer."""
        return frozenset()

    def end(self, reason: Reason, now: Instant) -> tuple[Happening, ...]:
        """Forget all tracks and end open events for this reason. Repeated calls are safe."""
        if self._scene is not None:
            self._scene.forget()
        if self._spells is not None:
            self._spells.forget()
        return self._ledger.end_all(reason, now)

    @property
    def unsettled(self) -> bool:
        """Whether the state may change with the next frame even if nothing moves."""
        scene, spells = self._scene, self._spells
        return (scene is not None and scene.unsettled) or (spells is not None and spells.unsettled)

    def places(self) -> list[Box]:
        """Return the places of tracked objects: boxes in pixels."""
        return self._scene.places() if self._scene is not None else []

    @property
    def held_back(self) -> int:
        """Number of events that the limits held back."""
        return sum(self._ledger.held_back.values())


def _few(labels: Sequence[str] | None) -> str:
    names = list(labels or ())
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def make_spells(plan: PipelinePlan, ledger: EventLedger, number: int | None = None) -> Spells | None:
    """Return the object that tracks labels, of a whole frame or of one object; None if labels cause no events."""
    if plan.events is None or plan.model.task not in ("classification", "anomaly"):
        return None
    low = plan.threshold * (1 - plan.events.hysteresis) if plan.model.task == "anomaly" else plan.floor
    return Spells(plan.events, ledger, plan.threshold, low, number=number)
