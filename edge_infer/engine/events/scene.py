"""Scene: the tracks of one source over time, and their zones, line crossings and events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import FractionBox
from edge_infer.engine.events.event_ledger import EventLedger, Happening
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.events.reasons import Reasons
from edge_infer.engine.events.visit import MARGIN, Direction, Passage, Side, Stay, Visit
from edge_infer.engine.events.zones import CrossingLine, ZoneArea
from edge_infer.engine.tasks.detection import Detections, fractions
from edge_infer.engine.tracking.track import LEAST_HITS, ObjectTrack
from edge_infer.engine.tracking.tracker import Tracker, TrackerResult
from edge_infer.frames.frame import BELIEVED, ROUNDING, Instant
from edge_infer.frames.geometry import Box
from edge_infer.plan.records import Anchor, EventsPlan, PipelinePlan, TrackPlan, ZonePlan

# Warm-up of a scene: the first frames, before any present object can be confirmed.

PATIENCE: Final = 3
"""Factor by which candidates that are neither confirmed nor gone may prolong the warm-up."""


@dataclass(slots=True)
class WarmUp:
    """Warm-up of a scene.

    The warm-up ends after ``frames`` frames and ``seconds`` seconds, which the tracker needs to confirm an object.

    A candidate that is neither confirmed nor gone prolongs the warm-up, to `PATIENCE` times its length at most. So a
    flickering detector cannot keep the state unknown for ever.
    """

    frames: int
    seconds: float
    over: bool = False
    _seen: int = 0
    _first: Instant | None = None

    def frame(self, now: Instant, *, pending: bool) -> None:
        """Add a frame. ``pending``: the frame has a candidate that is neither confirmed nor gone."""
        if self.over:
            return
        self._first = self._first or now
        self._seen += 1
        self.over = self._lasted(1, now) and (not pending or self._lasted(PATIENCE, now))

    def again(self) -> None:
        """Restart the warm-up."""
        self.over, self._seen, self._first = False, 0, None

    def _lasted(self, times: int, now: Instant) -> bool:
        assert self._first is not None
        enough = now.moment - self._first.moment > times * self.seconds - ROUNDING
        return enough and self._seen >= times * self.frames


HIDDEN: Final = 2
"""Missed frames after which an object counts as hidden: its position is then only known from its last sighting."""


class Scene:
    """Scene analysis of the detections of one pipeline."""

    def __init__(self, plan: PipelinePlan, ledger: EventLedger, new_number: Callable[[], int]) -> None:
        self._plan = plan
        self._threshold = plan.threshold
        self._least = (plan.events or EventsPlan()).min_duration
        self._ledger = ledger
        self._reasons = Reasons(plan, ledger.decisions)
        track = plan.track or TrackPlan()
        self._tracker = Tracker(track, plan.threshold, new_number)
        self._warmup = (
            WarmUp(LEAST_HITS + 1, max(track.confirm, self._least)) if plan.zones else WarmUp(LEAST_HITS, track.confirm)
        )
        self._visits: dict[ObjectTrack, Visit] = {}
        self._passed: dict[str, Counter[Direction]] = {line.name: Counter() for line in plan.lines}
        self._size = self._shown = (0, 0)
        self._zones: tuple[ZoneArea, ...] = ()
        self._lines: tuple[CrossingLine, ...] = ()

    def __call__(self, found: Detections, now: Instant) -> tuple[Followed, tuple[Happening, ...]]:
        """Process one frame; return the state of the scene and new events."""
        shown, self._shown = found, found.source
        if not self._tracker.tracks:
            self._fit(found.source)
        elif found.source != self._size:  # the frame size changed: tracks keep the scale of their first frames
            found = _scaled(found, self._size)
        seen = self._tracker(found.objects, now, found.source)
        tracks = [track for track in seen.tracks.values() if not track.doubtful]
        fresh = [track for track in self._tracker.tracks if track not in self._visits]
        for track in fresh + [track for track in tracks if track.begins_in_doubt]:
            self._visits[track] = Visit()
        hidden = [track for track in self._visits if track.missed >= HIDDEN]
        looked = tracks + fresh
        if looked:
            self._look(looked, now)
        for track in hidden:
            self._wait(self._visits[track], now)
        news: list[Happening] = []
        for track in looked + hidden:
            news += self._tell(track, self._visits[track], now)
        for track, visit in self._visits.items():
            news += self._loitering(track, visit, now)
            self._reasons.staying(track, visit, now)
        self._reasons.unsure(found, seen.tracks, now)
        for track in seen.ended:
            self._reasons.ended(track, self._visits[track], now)
            news += self._gone(track, self._visits.pop(track), now)
        self._warmup.frame(now, pending=self._pending())
        return self._followed(shown, seen), tuple(news)

    @property
    def unsettled(self) -> bool:
        """Whether a track may change its state with the next frame even if nothing moves."""
        least = min(self._least, BELIEVED)
        return (
            not self._warmup.over
            or self._tracker.unsure
            or any(
                not visit.told and (track.age < least or not track.seen_often(LEAST_HITS + 1))
                for track, visit in self._visits.items()
            )
        )

    def places(self) -> list[Box]:
        """Return the predicted boxes of all tracks, in pixels of the last frame."""
        centres = [track.place for track in self._tracker.tracks]
        boxes = [(x - width / 2, y - height / 2, x + width / 2, y + height / 2) for x, y, width, height in centres]
        return boxes if self._shown == self._size else [_resized(box, self._size, self._shown) for box in boxes]

    def forget(self) -> None:
        """Drop all tracks; the line counts stay."""
        self._tracker.forget()
        self._visits.clear()
        self._warmup.again()

    def inherit(self, before: Scene) -> None:
        """Take over the counts of those lines that have not changed."""
        same = {line.name for line in before._plan.lines if line in self._plan.lines}
        self._passed.update({name: count.copy() for name, count in before._passed.items() if name in same})

    def _pending(self) -> bool:
        """Return whether a visible object may begin to count with one of the next frames, in the scene or in a zone."""
        if any(not track.confirmed for track in self._tracker.tracks):
            return True
        zones = [zone.name for zone in self._plan.zones]
        return bool(zones) and any(
            not visit.told or any(name not in visit.sides or visit.sides[name].settled is None for name in zones)
            for visit in self._visits.values()
        )

    def _fit(self, size: tuple[int, int]) -> None:
        if size != self._size:
            self._size = size
            self._reasons.fit(size)
            self._zones = tuple(ZoneArea(zone, size) for zone in self._plan.zones)
            self._lines = tuple(CrossingLine(line, size) for line in self._plan.lines)

    def _look(self, tracks: Sequence[ObjectTrack], now: Instant) -> None:
        """Update the side of each track at every border.

        The update includes sightings that were held back while the identity of the track was unproven.
        """
        rows = [(track, *doubt) for track in tracks for doubt in track.doubts]
        rows += [(track, track.place, now) for track in tracks]
        for track in tracks:
            track.doubts.clear()
            if track.jumped:  # no frame shows its path, so no crossing counts
                self._visits[track].passages.clear()
                track.jumped = False
        places = np.array([place for _, place, _ in rows])
        looks = [(self._visits[track], when) for track, _, when in rows]
        margins = MARGIN * places[:, 2:].max(axis=1)
        points = {anchor: _anchors(places, anchor) for anchor in ("bottom", "center")}
        for zone in self._zones:
            distances = zone.distances(points[zone.plan.anchor]).tolist()
            limits = np.minimum(margins, zone.most_margin).tolist()
            for (visit, when), distance, margin in zip(looks, distances, limits, strict=True):
                side = visit.sides.setdefault(zone.plan.name, Side())
                if side.look(distance, margin, when, self._least) and side.settled:
                    visit.stays[zone.plan.name] = Stay(side.changed or when)
        for line in self._lines:
            anchors = points[line.plan.anchor]
            each = zip(looks, line.distances(anchors).tolist(), margins.tolist(), anchors.tolist(), strict=True)
            for (visit, when), distance, margin, (x, y) in each:
                passage = visit.passages.setdefault(line.plan.name, Passage())
                if passage.look(distance, margin, (x, y), when):
                    self._cross(visit, line, passage)

    def _wait(self, visit: Visit, now: Instant) -> None:
        """Let a missed object cross a border if it was beyond the border when it was last seen.

        No frame since then shows that it came back.
        """
        for zone in self._plan.zones:
            side = visit.sides.get(zone.name)
            if side is not None and side.wait(now, self._least) and side.settled:
                visit.stays[zone.name] = Stay(side.changed or now)
        for line in self._lines:
            passage = visit.passages.get(line.plan.name)
            if passage is not None and passage.wait(now):
                self._cross(visit, line, passage)

    def _cross(self, visit: Visit, line: CrossingLine, passage: Passage) -> None:
        if line.between(*passage.way):
            visit.crossed.append((line.plan, "left" if passage.to_left else "right"))
        else:
            visit.around.add(line.plan.name)

    def _tell(self, track: ObjectTrack, visit: Visit, now: Instant) -> list[Happening]:
        """Return new events of a visible object. Its appear event precedes all its other events."""
        sure = track.confirmed and not track.unproved and track.seen_often(LEAST_HITS + 1)
        if not visit.told and not (sure and track.age >= self._least):
            return []
        news: list[Happening] = []
        if not visit.told:
            visit.told = track.settled = True
            visit.explained = now.moment
            news += self._ledger.begin(
                ("appear", track.number, None), self._of(track, "appear", now, track.first), track
            )
        for zone in self._plan.zones:
            news += self._stay(track, visit, zone, now)
        news += self._crossings(track, visit, now)
        return news

    def _stay(self, track: ObjectTrack, visit: Visit, zone: ZonePlan, now: Instant) -> tuple[Happening, ...]:
        stay = visit.stays.get(zone.name)
        if stay is None or not _wanted(track, zone):
            return ()
        key = ("enter", track.number, zone.name)
        if not visit.sides[zone.name].settled:
            del visit.stays[zone.name]
            return self._ledger.end(key, now, self._box(track)) if stay.begun else ()  # type: ignore[arg-type]
        if stay.begun:
            return ()
        stay.begun = True
        visit.entered.add(zone.name)
        what = self._of(track, "enter", now, stay.since)
        return self._ledger.begin(key, replace(what, zone=zone.name), track)  # type: ignore[arg-type]

    def _loitering(self, track: ObjectTrack, visit: Visit, now: Instant) -> list[Happening]:
        """Return new loiter events.

        Tracks in doubt get none yet. A hidden object that stood still counts as present.
        """
        news: list[Happening] = []
        sure = not track.doubtful and (track.missed < HIDDEN or track.still)
        for zone in self._plan.zones if visit.stays and sure else ():
            stay = visit.stays.get(zone.name)
            if stay is None or zone.loiter is None or not stay.begun or stay.loitered:
                continue
            if visit.sides[zone.name].leaning is not None:  # it seems to have left the zone
                continue
            if now.moment - stay.since.moment >= zone.loiter:
                stay.loitered = True
                news += self._ledger.point(replace(self._of(track, "loiter", now, stay.since), zone=zone.name))
        return news

    def _crossings(self, track: ObjectTrack, visit: Visit, now: Instant) -> list[Happening]:
        news: list[Happening] = []
        for line, direction in visit.crossed:
            if line.labels is None or track.label in line.labels:
                self._passed[line.name][direction] += 1
                visit.passed.add(line.name)
                what = self._of(track, "cross", now, None)
                news += self._ledger.point(replace(what, line=line.name, direction=direction))
        visit.crossed.clear()
        return news

    def _gone(self, track: ObjectTrack, visit: Visit, now: Instant) -> list[Happening]:
        if not visit.told:
            return []
        for line in self._lines:
            passage = visit.passages.get(line.plan.name)
            if passage is not None and passage.cut_short():
                self._cross(visit, line, passage)
        news = self._crossings(track, visit, now)
        box = self._box(track)
        for name, stay in visit.stays.items():
            if stay.begun:
                news += self._ledger.end(("enter", track.number, name), now, box)
        news += self._ledger.end(("appear", track.number, None), now, box)
        return news

    def _of(self, track: ObjectTrack, kind: Literal["appear", "enter", "loiter", "cross"], now: Instant,
            since: Instant | None) -> Happening:  # fmt: skip
        return Happening(
            kind, now, since, label=track.label, number=track.number, score=track.best, box=self._box(track)
        )

    def _box(self, track: ObjectTrack) -> FractionBox:
        return fractions(track.box, self._size)

    def _followed(self, found: Detections, seen: TrackerResult) -> Followed:
        """Return the state of the scene, without the boxes below the threshold that belong to no confirmed track."""
        objects, followed = [], []
        for column, item in enumerate(found.objects):
            track = seen.tracks.get(column) or seen.born.get(column)
            number = track.number or None if track is not None and not track.doubtful else None
            if number is not None or item.score >= self._threshold:
                objects.append(replace(item, number=number))
                followed.append(track)
        confirmed = Counter(track.label for track in self._tracker.tracks if track.confirmed)
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
            frozenset(track.number for track in self._tracker.tracks if track.confirmed),
            warm=self._warmup.over,
            ids=self._ids(),
            tracks=tuple(followed),
        )

    def _ids(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Return the ids of the present objects, by label."""
        found: dict[str, list[int]] = {}
        for track in self._tracker.tracks:
            if track.confirmed:
                found.setdefault(track.label, []).append(track.number)
        return tuple((label, tuple(sorted(numbers))) for label, numbers in sorted(found.items()))


def _wanted(track: ObjectTrack, zone: ZonePlan) -> bool:
    return zone.labels is None or track.label in zone.labels


def _anchors(places: NDArray[np.float64], anchor: Anchor) -> NDArray[np.float64]:
    points = places[:, :2].copy()
    if anchor == "bottom":
        points[:, 1] += places[:, 3] / 2
    return points


def _scaled(found: Detections, size: tuple[int, int]) -> Detections:
    """Return the detections converted to the pixels of a frame of another size."""
    objects = tuple(replace(item, box=_resized(item.box, found.source, size)) for item in found.objects)
    return replace(found, objects=objects, source=size)


def _resized(box: Box, size: tuple[int, int], wanted: tuple[int, int]) -> Box:
    across, down = wanted[0] / size[0], wanted[1] / size[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down
