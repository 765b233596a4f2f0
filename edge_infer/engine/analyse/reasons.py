"""Reasons why an object, zone or line caused no event: sentences for the record of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_infer.config.plan import EventsPlan, LinePlan, PipelinePlan, TrackPlan, ZonePlan
from edge_infer.engine.analyse.border import FRAMES, Side
from edge_infer.engine.analyse.covered import WORTH_SAYING, Covered
from edge_infer.engine.analyse.decisions import Decisions
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.analyse.track import LEAST_HITS, Track
from edge_infer.engine.analyse.visit import ACROSS, Visit
from edge_infer.engine.tasks.detection import Detections

AGAIN: Final = 30.0
"""Seconds after which the reason why a zone does not count an object is recorded again."""
NEAR: Final = 1.0
"""Distance to a line, in sizes of the object's box, within which a missed crossing is recorded."""


class Reasons:
    """Recorder of the conditions that objects of one pipeline failed to meet, with numbers."""

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

    def unsure(self, found: Detections, tracks: Mapping[int, Track], now: Instant) -> None:
        """Record boxes that nearly reached the threshold and belong to no track."""
        for column, item in enumerate(found.objects):
            if item.score < self._plan.threshold and column not in tracks:
                text = f"below the threshold of {self._plan.threshold:g}{self._covered.words(item.box)}"
                self._decisions.note(now.wall, item.label, item.score, "below", text)

    def staying(self, track: Track, visit: Visit, now: Instant) -> None:
        """Record the unmet conditions of an object that stays for long."""
        if visit.told and now.moment - visit.explained >= AGAIN:
            visit.explained = now.moment
            self._places(track, visit, now)

    def ended(self, track: Track, visit: Visit, now: Instant) -> None:
        """Record the unmet conditions of an object that has left."""
        if not track.number:
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

    def _masked(self, track: Track, now: Instant) -> None:
        x, y, width, height = track.place  # predicted place
        seen = self._covered.share(track.box)
        going = self._covered.share((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        if max(seen, going) >= WORTH_SAYING:
            text = (
                f"#{track.number} was lost at the mask: {seen:.0%} of its box was blacked out when it was seen last, "
            )
            self._note(track, now, f"masked {track.number}", f"{text}{going:.0%} of where it was going")

    def _places(self, track: Track, visit: Visit, now: Instant) -> None:
        for zone in self._plan.zones:
            if zone.name not in visit.entered and (why := self._outside(track, visit, zone)):
                self._note(track, now, f"zone {zone.name} {track.number}", f"#{track.number} {zone.name}: {why}")
        for line in self._plan.lines:
            if line.name not in visit.passed and (why := self._not_across(track, visit, line)):
                self._note(track, now, f"line {line.name} {track.number}", f"#{track.number} {line.name}: {why}")

    def _outside(self, track: Track, visit: Visit, zone: ZonePlan) -> str:
        if zone.labels is not None and track.label not in zone.labels:
            return f"the zone is for {', '.join(zone.labels)}"
        side = visit.sides.get(zone.name, Side())
        point = "lower edge" if zone.anchor == "bottom" else "middle"
        if side.farthest <= 0.0:
            return f"it was outside; its {point} came no nearer than {-side.farthest:.0f} pixels"
        if side.settled is not None and side.farthest <= side.margin:
            return f"its {point} was no more than {side.farthest:.0f} pixels inside, {side.margin:.0f} are needed"
        return _too_short(side, self._least, "inside", "events.min_duration of ")

    def _not_across(self, track: Track, visit: Visit, line: LinePlan) -> str:
        passage = visit.passages.get(line.name)
        if passage is None:
            return ""
        if line.name in visit.around:
            return "it went around the end of the line"
        side, reach = passage.side, NEAR * max(track.place[2:])
        if side.farthest < -reach or side.settled is None:
            return ""  # it never came near
        if line.labels is not None and track.label not in line.labels:
            return f"the line is for {', '.join(line.labels)}"
        if side.farthest <= 0.0:
            return f"it stayed on its side and came no nearer than {-side.farthest:.0f} pixels"
        if side.farthest <= side.margin:
            return f"it was no more than {side.farthest:.0f} pixels beyond the line, {side.margin:.0f} are needed"
        return _too_short(side, ACROSS, "on the other side", "")

    def _note(self, track: Track, now: Instant, stage: str, text: str) -> None:
        self._decisions.note(now.wall, track.label, track.best, stage, text)


def _too_short(side: Side, least: float, where: str, key: str) -> str:
    seconds, looks = side.longest
    return f"it was {where} for {seconds:.1f} s in {looks} frames, {key}{least:g} s and {FRAMES} frames are needed"
