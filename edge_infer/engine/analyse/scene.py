"""The objects of one source over time: who is there, in which zone, across which line, and what of it is news."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_infer.config.plan import Anchor, EventsPlan, LinePlan, PipelinePlan, TrackPlan, ZonePlan
from edge_infer.engine.analyse.border import MARGIN, Side
from edge_infer.engine.analyse.events import Happening, Ledger
from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.analyse.lines import Line, Point
from edge_infer.engine.analyse.tracker import LEAST_HITS, Track, Tracker
from edge_infer.engine.analyse.zones import Zone
from edge_infer.engine.tasks import fraction
from edge_infer.engine.tasks.detection import Detections
from edge_infer.messages import FractionBox

ACROSS: Final = 0.2
"""Seconds on the other side of a line after which it was crossed."""
CUT_SHORT: Final = 2
"""Frames on the other side that are enough when nothing is seen of the object afterwards."""

Direction = Literal["left", "right"]


@dataclass(slots=True)
class _Stay:
    """In a zone since when; whether that was told, and whether it was told that it lasts."""

    since: Instant
    begun: bool = False
    loitered: bool = False


@dataclass(slots=True)
class _Passage:
    """One object and one line: the side, the last point that was surely on it, and the first on the other."""

    side: Side = field(default_factory=Side)
    before: Point = (0.0, 0.0)
    after: Point = (0.0, 0.0)
    to_left: bool = False

    def look(self, distance: float, margin: float, point: Point, now: Instant) -> bool:
        """One look; whether it is on the other side now."""
        before = self.side.settled
        if before is not None and distance * (1 if before else -1) > margin:
            self.before = point
        changed = self.side.look(distance, margin, now, ACROSS)
        if self.side.looks == 1:
            self.after = point
        if changed and before is None:
            self.before = point
        self.to_left = not before
        return changed and before is not None

    def cut_short(self) -> bool:
        """Whether it was on its way to the other side when it was seen last."""
        return self.side.settled is not None and self.side.looks >= CUT_SHORT


@dataclass(slots=True)
class _Visit:
    """One object here: whether it was told, where it stays, what it crossed before it was told."""

    sides: dict[str, Side] = field(default_factory=dict)
    stays: dict[str, _Stay] = field(default_factory=dict)
    passages: dict[str, _Passage] = field(default_factory=dict)
    crossed: list[tuple[LinePlan, Direction]] = field(default_factory=list)
    entered: set[str] = field(default_factory=set)
    told: bool = False


class Scene:
    """Follows what a detector finds."""

    def __init__(self, plan: PipelinePlan, ledger: Ledger, new_number: Callable[[], int]) -> None:
        self._plan = plan
        self._threshold = plan.threshold
        self._least = (plan.events or EventsPlan()).min_duration
        self._ledger = ledger
        self._tracker = Tracker(plan.track or TrackPlan(), plan.threshold, new_number)
        self._visits: dict[Track, _Visit] = {}
        self._passed: dict[str, Counter[Direction]] = {line.name: Counter() for line in plan.lines}
        self._size = (0, 0)
        self._zones: tuple[Zone, ...] = ()
        self._lines: tuple[Line, ...] = ()

    def __call__(self, found: Detections, now: Instant) -> tuple[Followed, tuple[Happening, ...]]:
        """One frame: what is known of the scene now, and what is news."""
        self._fit(found.source)
        seen = self._tracker(found.objects, now)
        tracks = [track for track in seen.tracks.values() if not track.doubtful]
        fresh = [track for track in self._tracker.tracks if track not in self._visits]
        for track in fresh:
            self._visits[track] = _Visit()
        looked = tracks + fresh
        if looked:
            self._look(looked, now)
        news: list[Happening] = []
        for track in looked:
            news += self._tell(track, self._visits[track], now)
        for track, visit in self._visits.items():
            news += self._loitering(track, visit, now)
        self._note_unsure(found, seen.tracks, now)
        for track in seen.ended:
            self._note_end(track, self._visits[track], now)
            news += self._gone(track, self._visits.pop(track), now)
        return self._followed(found, seen.tracks), tuple(news)

    def _note_unsure(self, found: Detections, tracks: dict[int, Track], now: Instant) -> None:
        """Boxes that came close to the threshold and belong to nobody."""
        text = f"below the threshold of {self._threshold:g}"
        for column, item in enumerate(found.objects):
            if item.score < self._threshold and column not in tracks:
                self._ledger.decisions.note(now.wall, item.label, item.score, "below", text)

    def _note_end(self, track: Track, visit: _Visit, now: Instant) -> None:
        """Why nothing, or nothing of a zone, was told of an object that has left."""
        if not track.number:
            confirm = (self._plan.track or TrackPlan()).confirm
            text = f"not confirmed: seen in {track.hits} of {track.frames} frames over {track.age:.1f} s, "
            text += f"{LEAST_HITS} frames and track.confirm of {confirm:g} s are needed"
            self._ledger.decisions.note(now.wall, track.label, track.best, "unconfirmed", text)
        elif not visit.told:
            text = f"#{track.number} was too short: seen in {track.hits} frames over {track.age:.1f} s, "
            text += f"{LEAST_HITS + 1} frames and events.min_duration of {self._least:g} s are needed"
            self._ledger.decisions.note(now.wall, track.label, track.best, "short", text)
        for zone in self._plan.zones if visit.told else ():
            if zone.name not in visit.entered:
                wrong = not _wanted(track, zone)
                why = f"the zone is for {', '.join(zone.labels or ())}" if wrong else "it was not inside long enough"
                stage, text = f"zone {zone.name} {track.number}", f"#{track.number} {zone.name}: {why}"
                self._ledger.decisions.note(now.wall, track.label, track.best, stage, text)

    def forget(self) -> None:
        """Nobody knows what became of the objects; what was counted at lines stays counted."""
        self._tracker.forget()
        self._visits.clear()

    def _fit(self, size: tuple[int, int]) -> None:
        if size != self._size:
            self._size = size
            self._zones = tuple(Zone(zone, size) for zone in self._plan.zones)
            self._lines = tuple(Line(line, size) for line in self._plan.lines)

    def _look(self, tracks: Sequence[Track], now: Instant) -> None:
        """On which side of every border each of these is."""
        places = np.array([track.place for track in tracks])
        margins = MARGIN * places[:, 2:].max(axis=1)
        points = {anchor: _anchors(places, anchor) for anchor in ("bottom", "center")}
        for zone in self._zones:
            distances = zone.distances(points[zone.plan.anchor]).tolist()
            limits = np.minimum(margins, zone.most_margin).tolist()
            for track, distance, margin in zip(tracks, distances, limits, strict=True):
                visit = self._visits[track]
                side = visit.sides.setdefault(zone.plan.name, Side())
                if side.look(distance, margin, now, self._least) and side.settled:
                    visit.stays[zone.plan.name] = _Stay(side.since or now)
        for line in self._lines:
            anchors = points[line.plan.anchor]
            rows = zip(tracks, line.distances(anchors).tolist(), margins.tolist(), anchors.tolist(), strict=True)
            for track, distance, margin, (x, y) in rows:
                passage = self._visits[track].passages.setdefault(line.plan.name, _Passage())
                if passage.look(distance, margin, (x, y), now):
                    self._cross(self._visits[track], line, passage)

    def _cross(self, visit: _Visit, line: Line, passage: _Passage) -> None:
        if line.between(passage.before, passage.after):
            visit.crossed.append((line.plan, "left" if passage.to_left else "right"))

    def _tell(self, track: Track, visit: _Visit, now: Instant) -> list[Happening]:
        """What is news of an object that is seen: only what it is about to be told of itself comes first."""
        if not visit.told and not (track.number and track.seen_often(LEAST_HITS + 1) and track.age >= self._least):
            return []
        news: list[Happening] = []
        if not visit.told:
            visit.told = track.settled = True
            news += self._ledger.begin(("appear", track.number, None), self._of(track, "appear", now, track.first))
        for zone in self._plan.zones:
            news += self._stay(track, visit, zone, now)
        news += self._crossings(track, visit, now)
        return news

    def _stay(self, track: Track, visit: _Visit, zone: ZonePlan, now: Instant) -> tuple[Happening, ...]:
        stay = visit.stays.get(zone.name)
        if stay is None or not _wanted(track, zone):
            return ()
        key = ("enter", track.number, zone.name)
        if not visit.sides[zone.name].settled:
            del visit.stays[zone.name]
            told = {"score": track.best, "box": self._box(track)}
            return self._ledger.end(key, now, **told) if stay.begun else ()  # type: ignore[arg-type]
        if stay.begun:
            return ()
        stay.begun = True
        visit.entered.add(zone.name)
        what = self._of(track, "enter", now, stay.since)
        return self._ledger.begin(key, replace(what, zone=zone.name))  # type: ignore[arg-type]

    def _loitering(self, track: Track, visit: _Visit, now: Instant) -> list[Happening]:
        """An object that is hidden for a moment is still where it was."""
        news: list[Happening] = []
        for zone in self._plan.zones if visit.stays else ():
            stay = visit.stays.get(zone.name)
            if stay is None or zone.loiter is None or not stay.begun or stay.loitered:
                continue
            if visit.sides[zone.name].leaning is not None:  # it seems to have left
                continue
            if now.moment - stay.since.moment >= zone.loiter:
                stay.loitered = True
                news += self._ledger.point(replace(self._of(track, "loiter", now, stay.since), zone=zone.name))
        return news

    def _crossings(self, track: Track, visit: _Visit, now: Instant) -> list[Happening]:
        news: list[Happening] = []
        for line, direction in visit.crossed:
            if line.labels is None or track.label in line.labels:
                self._passed[line.name][direction] += 1
                what = self._of(track, "cross", now, None)
                news += self._ledger.point(replace(what, line=line.name, direction=direction))
        visit.crossed.clear()
        return news

    def _gone(self, track: Track, visit: _Visit, now: Instant) -> list[Happening]:
        if not visit.told:
            return []
        for line in self._lines:
            passage = visit.passages.get(line.plan.name)
            if passage is not None and passage.cut_short():
                self._cross(visit, line, passage)
        news = self._crossings(track, visit, now)
        told = {"score": track.best, "box": self._box(track)}
        for name, stay in visit.stays.items():
            if stay.begun:
                news += self._ledger.end(("enter", track.number, name), now, **told)
        news += self._ledger.end(("appear", track.number, None), now, **told)
        return news

    def _of(self, track: Track, kind: Literal["appear", "enter", "loiter", "cross"], now: Instant,
            since: Instant | None) -> Happening:  # fmt: skip
        return Happening(
            kind, now, since, label=track.label, number=track.number, score=track.best, box=self._box(track)
        )

    def _box(self, track: Track) -> FractionBox:
        width, height = self._size
        xmin, ymin, xmax, ymax = track.box
        return fraction(xmin / width), fraction(ymin / height), fraction(xmax / width), fraction(ymax / height)

    def _followed(self, found: Detections, tracks: dict[int, Track]) -> Followed:
        """Boxes that are sure, or of an object that is there; unsure ones of nobody were only looked at."""
        objects = []
        for column, item in enumerate(found.objects):
            track = tracks.get(column)
            number = track.number or None if track is not None and not track.doubtful else None
            if number is not None or item.score >= self._threshold:
                objects.append(replace(item, number=number))
        confirmed = Counter(track.label for track in self._tracker.tracks if track.number)
        zones = {zone.name: Counter[str]() for zone in self._plan.zones}
        for track, visit in self._visits.items():
            for name, stay in visit.stays.items():
                if stay.begun:
                    zones[name][track.label] += 1
        return Followed(
            replace(found, objects=tuple(objects)),
            tuple(sorted(confirmed.items())),
            tuple((name, tuple(sorted(counts.items()))) for name, counts in zones.items()),
            tuple((name, counts["left"], counts["right"]) for name, counts in self._passed.items()),
        )


def _wanted(track: Track, zone: ZonePlan) -> bool:
    return zone.labels is None or track.label in zone.labels


def _anchors(places: NDArray[np.float64], anchor: Anchor) -> NDArray[np.float64]:
    points = places[:, :2].copy()
    if anchor == "bottom":
        points[:, 1] += places[:, 3] / 2
    return points
