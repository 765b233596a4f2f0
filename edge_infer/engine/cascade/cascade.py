"""The parent's side of a cascade: what it has found goes to those that look closer, once for each frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edge_infer.codec import replace
from edge_infer.engine.analyse.followed import Followed
from edge_infer.engine.cascade.feed import CropsFeed
from edge_infer.engine.cascade.sighting import Sighted, Sighting
from edge_infer.engine.frame import Captured, Frame
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.messages import Reason


class Cascade:
    """Used by the pipeline's thread; another one may `join` others to it."""

    def __init__(self, pipeline: str) -> None:
        self.feeds: tuple[CropsFeed, ...] = ()
        self._pipeline = pipeline
        self._objects: list[Sighted] = []
        self._nth: Counter[int] = Counter()
        self._asked: set[int] = set()
        self._present: frozenset[int] | None = None
        self._visible: Frame | None = None
        self._boxes = True
        self._warm = True
        self._reason: Reason | None = None  # why nothing can be said

    def join(self, feeds: Iterable[CropsFeed]) -> None:
        """From now on it is for these; to one that comes while nothing can be said the reason is told at once."""
        before, self.feeds = self.feeds, tuple(feeds)
        for feed in self.feeds:
            if feed not in before and (reason := self._reason) is not None:
                feed.silent(reason)

    def saw(self, visible: Captured, findings: Findings, seq: int | None) -> None:
        """What was found in a frame or in a part of it, without what is masked, and the number of its result."""
        if not self.feeds or not isinstance(visible, Frame):
            return
        detections = findings.detections if isinstance(findings, Followed) else findings
        if not isinstance(detections, Detections):
            self._boxes = False
            return
        self._visible = visible
        if isinstance(findings, Followed):
            self._present, self._warm = findings.present, findings.warm
        if visible.parent is not None and visible.parent.id is not None:
            self._asked.add(visible.parent.id)
        for found in detections.objects:
            own = found.number or found.parent or 0
            if own or not isinstance(findings, Followed):  # who has no id yet may be nobody
                self._objects.append(Sighted(self._pipeline, found, detections.source, seq, self._nth[own]))
                self._nth[own] += 1

    def hand_on(self, frame: Captured) -> None:
        """All parts of a frame have been looked at: shows it to everybody, with all that was found."""
        self._reason = None
        if self.feeds and isinstance(frame, Frame):
            if self._boxes:
                self._show(frame)
            else:  # another model took the place of the detector
                self.silent("model_changed")
        self._forget()

    def silent(self, reason: Reason) -> None:
        """Nothing can be said now, so neither can those that look closer."""
        self._forget()
        self._reason = reason
        for feed in self.feeds:
            feed.silent(reason)

    def _show(self, frame: Frame) -> None:
        above = frame.sighting
        objects = tuple(sorted(self._objects, key=lambda each: -each.found.score))
        sighting = Sighting(
            objects,
            self._present if above is None else above.present,
            None if above is None else frozenset(self._asked),
            warm=self._warm and (above is None or above.warm),
        )
        visible = self._visible or frame
        borrowed = objects and not visible.pixels.flags.owndata
        whole = replace(
            visible,
            pixels=visible.pixels.copy() if borrowed else visible.pixels,  # it outlives the step that made it
            region=None,
            parent=None,
            sighting=sighting,
        )
        for feed in self.feeds:
            feed.show(whole)

    def _forget(self) -> None:
        self._objects.clear()
        self._nth.clear()
        self._asked.clear()
        self._present, self._visible, self._boxes, self._warm = None, None, True, True
