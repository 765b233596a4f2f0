"""Reasons why an object, zone, line or result was not published: sentences for the record of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from edge_infer.contract.messages import Task
from edge_infer.engine.events.decision_record import REPEATED, SPENT, TOLD, Decisions
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.events.visit import ACROSS, FRAMES, Side, Visit
from edge_infer.engine.events.zones import WORTH_SAYING, Covered
from edge_infer.engine.output.publish_policy import TOGETHER
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings, best_scores
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.engine.tracking.track import LEAST_HITS, ObjectTrack
from edge_infer.frames.frame import Instant
from edge_infer.plan.channel_rates import CHANGES_A_MINUTE
from edge_infer.plan.records import EventsPlan, LinePlan, PipelinePlan, Publish, TrackPlan, ZonePlan

# Conditions that an object, zone or line failed to meet, so that it caused no event.

AGAIN: Final = 30.0
"""Minimum seconds between two entries with the reason why a zone does not count one object."""
NEAR: Final = 1.0
"""Distance to a line, in multiples of the size of the object's box, within which a missed crossing is recorded."""


class Reasons:
    """Records, with numbers, which conditions the objects of one pipeline failed to meet."""

    def __init__(self, plan: PipelinePlan, decisions: Decisions) -> None:
        self._plan = plan
        self._confirm = (plan.track or TrackPlan()).confirm
        self._least = (plan.events or EventsPlan()).min_duration
        self._decisions = decisions
        self._size = (0, 0)
        self._covered = Covered((), (1, 1))

    def fit(self, size: tuple[int, int]) -> None:
        """Fit the mask to frames of this size (width, height)."""
        self._covered = Covered(self._plan.mask, size)

    def unsure(self, found: Detections, tracks: Mapping[int, ObjectTrack], now: Instant) -> None:
        """Record boxes that nearly reached the threshold and that no track contains."""
        for column, item in enumerate(found.objects):
            if item.score < self._plan.threshold and column not in tracks:
                text = f"below the threshold of {self._plan.threshold:g}{self._covered.words(item.box)}"
                self._decisions.note(now.wall, item.label, item.score, "below", text)

    def staying(self, track: ObjectTrack, visit: Visit, now: Instant) -> None:
        """Record the unmet conditions of an object that has been present for long."""
        if visit.told and now.moment - visit.explained >= AGAIN:
            visit.explained = now.moment
            self._places(track, visit, now)

    def ended(self, track: ObjectTrack, visit: Visit, now: Instant) -> None:
        """Record the unmet conditions of an object that has left."""
        if not track.confirmed:
            text = f"not confirmed: seen in {track.hits} of {track.frames} frames over {track.age:.1f} s, "
            text += f"{LEAST_HITS} frames and track.confirm of {self._confirm:g} s are needed"
            self._note(track, now, "unconfirmed", text + self._covered.words(track.box))
            return
        if not visit.told:
            text = f"#{track.number} was too short: seen in {track.hits} frames over {track.age:.1f} s, "
            text += f"{LEAST_HITS + 1} frames and events.min_duration of {self._least:g} s are needed"
            self._note(track, now, "short", text + self._covered.words(track.box))
            return
        self._places(track, visit, now)
        self._masked(track, now)

    def _masked(self, track: ObjectTrack, now: Instant) -> None:
        x, y, width, height = track.place  # the predicted place
        seen = self._covered.share(track.box)
        going = self._covered.share((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        if max(seen, going) >= WORTH_SAYING:
            text = f"#{track.number} was lost at the mask, which covered {seen:.0%} of its box in its last frame "
            self._note(
                track, now, f"masked {track.number}", f"{text}and {going:.0%} of the expected box in the next frame"
            )

    def _places(self, track: ObjectTrack, visit: Visit, now: Instant) -> None:
        for zone in self._plan.zones:
            if zone.name not in visit.entered and (why := self._outside(track, visit, zone)):
                self._note(track, now, f"zone {zone.name} {track.number}", f"#{track.number} {zone.name}: {why}")
        for line in self._plan.lines:
            if line.name not in visit.passed and (why := self._not_across(track, visit, line)):
                self._note(track, now, f"line {line.name} {track.number}", f"#{track.number} {line.name}: {why}")

    def _outside(self, track: ObjectTrack, visit: Visit, zone: ZonePlan) -> str:
        if zone.labels is not None and track.label not in zone.labels:
            return f"the zone is for {', '.join(zone.labels)}"
        side = visit.sides.get(zone.name, Side())
        point = "lower edge" if zone.anchor == "bottom" else "middle"
        if side.farthest <= 0.0:
            return f"it was outside; its {point} came no nearer than {-side.farthest:.0f} pixels"
        if side.settled is not None and side.farthest <= side.margin:
            return f"its {point} was no more than {side.farthest:.0f} pixels inside, {side.margin:.0f} are needed"
        return _too_short(side, self._least, "inside", "events.min_duration of ")

    def _not_across(self, track: ObjectTrack, visit: Visit, line: LinePlan) -> str:
        passage = visit.passages.get(line.name)
        if passage is None:
            return ""
        if line.name in visit.around:
            return "it passed around the end of the line"
        side, reach = passage.side, NEAR * max(track.place[2:])
        if side.farthest < -reach or side.settled is None:
            return ""  # the object never came near the line
        if line.labels is not None and track.label not in line.labels:
            return f"the line is for {', '.join(line.labels)}"
        if side.farthest <= 0.0:
            return f"it stayed on its side and came no nearer than {-side.farthest:.0f} pixels"
        if side.farthest <= side.margin:
            return f"it was no more than {side.farthest:.0f} pixels beyond the line, {side.margin:.0f} are needed"
        return _too_short(side, ACROSS, "on the other side", "")

    def _note(self, track: ObjectTrack, now: Instant, stage: str, text: str) -> None:
        self._decisions.note(now.wall, track.label, track.best, stage, text)


def _too_short(side: Side, least: float, where: str, key: str) -> str:
    seconds, looks = side.longest
    return f"it was {where} for {seconds:.1f} s in {looks} frames, {key}{least:g} s and {FRAMES} frames are needed"


# Record of whether the result of a frame was published, for pipelines without events.
#
# In a pipeline with events the record contains each event. In a pipeline without events these entries are the only ones
# about its findings.

MOST: Final = 5
"""Maximum number of labels of one frame that are recorded."""
CHANGE: Final[dict[Task, str]] = {
    "classification": "the best class is",
    "anomaly": "the state is",
    "regression": "the values in their steps are",
}
"""Criterion of a change, by task; all other tasks compare labels and counts."""
BUDGET: Final = (
    f"in the state, in no result: the pipeline has published its maximum of {CHANGES_A_MINUTE} changes a minute; the "
    "newest one follows as soon as the limit permits"
)


class ResultReasons:
    """Records whether the findings of a frame were published in a result."""

    def __init__(self, plan: PipelinePlan, decisions: Decisions) -> None:
        self._decisions = decisions
        self._silent = plan.events is None and plan.crops is None
        self._text = f"in the state, in no result: {why_held(plan)}"

    def __call__(self, findings: Findings, wall: float, *, told: bool, over_budget: bool) -> None:
        """Record the findings of the frame captured at ``wall``, and whether its result was published.

        ``over_budget``: the result was not published because the budget is used up.
        """
        if not self._silent:
            return
        stage, text = REPEATED, self._text
        if told:
            stage, text = TOLD, "published in a result"
        elif over_budget:
            stage, text = SPENT, BUDGET
        for label, score in islice(found_in(findings), MOST):
            self._decisions.note(wall, label, score, stage, text)


def why_held(plan: PipelinePlan) -> str:
    """Return the reason for which the setting ``publish`` holds a result back; empty if it never does."""
    same = f"{CHANGE.get(plan.model.task, 'labels and counts are')} as in the last one"
    if plan.track is not None:
        same = f"{same}, or that one is less than {TOGETHER:g} s old"
    why: dict[Publish, str] = {
        "change": f"publish is change, and {same}; heartbeat is {plan.heartbeat:g} s",
        "interval": f"publish is {{interval: {plan.interval:g}s}}",
        "off": "publish is off",
    }
    return why.get(plan.publish, "")


def found_in(findings: Findings) -> Iterable[tuple[str | None, float]]:
    """Return the labels with their best scores, best first. For a regression, return the names with their values."""
    if isinstance(findings, ClassificationFindings):
        return [(each.label, each.score) for each in findings.classes]
    if isinstance(findings, Followed):
        findings = findings.detections
    if isinstance(findings, Detections):
        return best_scores((each.label, each.score) for each in findings.objects).items() if findings.objects else ()
    if isinstance(findings, Poses):
        return [(findings.label, body.score) for body in findings.bodies[:1]]
    if isinstance(findings, SegmentationFindings):
        return [(each.label, each.share) for each in findings.segments]
    if isinstance(findings, Measurement):
        return [(each.plan.name, each.value) for each in findings.values if each.value is not None]
    if isinstance(findings, Deviation) and findings.score >= findings.threshold:
        return [(None, findings.score)]
    return ()
