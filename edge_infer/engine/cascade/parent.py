"""Parent side of a cascade: passes the parent's findings to the child pipelines, once for each frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import Reason, SourceHealth, SourceState
from edge_infer.engine.cascade.sighting import Sighted, Sighting
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Captured, Frame
from edge_infer.plan.records import SourcePlan

# Source of crops in the engine: the newest frame of the parent pipeline with its findings.

STATES: Final[Mapping[Reason | None, SourceState]] = {
    None: "ok",
    "starting": "starting",
    "model_changed": "starting",
    "config_changed": "starting",
    "source_frozen": "frozen",
    "source_ended": "ended",
    "source_lost": "lost",
    "engine_failed": "lost",
    "stopped": "ended",
    "removed": "ended",
}
"""Health state of a source of crops, by the reason why the parent pipeline has no findings (None: it has findings)."""


class CropsFeed(Feed):
    """Feed without a capture thread of its own: the parent's thread offers frames and never waits.

    The pixels of an offered frame do not change.
    """

    def __init__(self, plan: SourcePlan) -> None:
        super().__init__(plan)
        self._silent: Reason | None = "starting"

    def show(self, frame: Frame) -> None:
        """Offer the newest frame with its findings."""
        with self._changed:
            for cursor in self._cursors:
                cursor.unheard = self._silent or cursor.unheard
            self._silent = None
            self.offer(self._number + 1, lambda: frame)

    def silent(self, reason: Reason) -> None:
        """Record that the parent pipeline has no findings, and the reason."""
        with self._changed:
            self._silent = reason

    def blocked(self) -> Reason | None:
        """Return the reason why the parent pipeline has no findings; None if it has findings."""
        return self._silent

    def health(self) -> SourceHealth:
        """Return the health of the feed. A frame counts even if nothing was found in it."""
        reason = self._silent
        error = ABSENT if reason is None else f"pipeline {self.plan.parent}: {reason.replace('_', ' ')}"
        return replace(super().health(), state=STATES[reason], error=error)


class Cascade:
    """Passes a pipeline's findings to its children. Only the pipeline's thread uses it, except for `join`."""

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
        self._reason: Reason | None = None  # why no findings are available

    def join(self, feeds: Iterable[CropsFeed]) -> None:
        """Replace the feeds. While no findings are available, a new feed receives the reason at once."""
        before, self.feeds = self.feeds, tuple(feeds)
        for feed in self.feeds:
            if feed not in before and (reason := self._reason) is not None:
                feed.silent(reason)

    def saw(self, visible: Captured, findings: Findings, seq: int | None) -> None:
        """Add the findings in a frame or in a part of it.

        ``visible`` is the frame with its masked areas black, ``seq`` the sequence number of the published result; None
        without a result.
        """
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
            if own or not isinstance(findings, Followed):  # an object without an id is not confirmed yet
                self._objects.append(Sighted(self._pipeline, found, detections.source, seq, self._nth[own]))
                self._nth[own] += 1

    def hand_on(self, frame: Captured) -> None:
        """Pass a frame to every feed, together with all findings that were added for it."""
        self._reason = None
        if self.feeds and isinstance(frame, Frame):
            if self._boxes:
                self._show(frame)
            else:  # another model replaced the detector
                self.silent("model_changed")
        if self._visible is not None or not self._boxes:  # otherwise `saw` has added nothing
            self._forget()

    def silent(self, reason: Reason) -> None:
        """Report to every feed why no findings are available."""
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
            pixels=visible.pixels.copy() if borrowed else visible.pixels,  # the frame outlives the borrowed buffer
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
