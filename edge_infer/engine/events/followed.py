"""Tracked objects of a frame, their ids and counts by zone and line."""

from __future__ import annotations

from edge_infer.contract.codec import ABSENT, FrameRecord, dumps, encode, replace
from edge_infer.contract.messages import LineCounts, Result, State
from edge_infer.engine.tasks import Essence, Head, fitting
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tracking.track import ObjectTrack

Counts = tuple[tuple[str, int], ...]


class Followed(FrameRecord, frozen=True):
    """Tracked state after a frame.

    ``detections`` carry ids; ``counts`` include every present object, visible in this frame or not.

    ``zones`` holds counts by zone, ``lines`` the crossings of each line to the left and to the right. ``present`` holds
    the ids of present objects, ``ids`` the same ids by label. ``warm`` is false until the pipeline has run long enough
    to confirm an object.
    """

    detections: Detections
    counts: Counts
    zones: tuple[tuple[str, Counts], ...]
    lines: tuple[tuple[str, int, int], ...]
    present: frozenset[int] = frozenset()
    warm: bool = True
    ids: tuple[tuple[str, tuple[int, ...]], ...] = ()
    tracks: tuple[ObjectTrack | None, ...] = ()
    """The track of each detection, whether confirmed or not."""

    @property
    def essence(self) -> Essence:
        """Value compared to detect a change of the result: counts by label and by zone.

        Line crossings are excluded, because events report them and the state counts them.
        """
        return self.counts, self.zones

    @property
    def standing(self) -> Essence:
        """Value compared to detect a change of the state: counts by label and zone, ids, crossings of each line."""
        return self.counts, self.zones, self.ids, self.lines

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the objects in fractions of the frame."""
        return self.detections.result(head, seq, room)

    def state(self, head: Head, room: int) -> State:
        """Return the counts.

        If not all fit, ids are dropped first, then lines, zones and the rarest labels (counted in ``more``).
        """
        most = room
        lines = {name: LineCounts(left, right) for name, left, right in self.lines}
        zones = {name: dict(counts) for name, counts in self.zones}
        kinds = (("zones", zones), ("lines", lines))
        by_number = sorted(self.counts, key=lambda item: -item[1])
        room -= len(dumps(head.state(counts={}, zones={} if zones else ABSENT, lines={} if lines else ABSENT)))
        rows = [("counts", label, number) for label, number in by_number]
        rows += [(kind, name, value) for kind, group in kinds for name, value in group.items()]  # type: ignore[misc]
        sizes = (len(dumps({name: encode(value)})) - 1 for _, name, value in rows)
        kept = rows[: fitting(sizes, len(rows), room)]
        outcome = {
            kind: {name: value for of, name, value in kept if of == kind} for kind in ("counts", "zones", "lines")
        }
        said = {kind: dict(sorted(group.items())) for kind, group in outcome.items()}
        state = head.state(
            counts=said["counts"],
            zones=said["zones"] if zones else ABSENT,
            lines=said["lines"] if lines else ABSENT,
            more=len(rows) - len(kept) or ABSENT,
        )
        whole = replace(state, ids=dict(self.ids))
        return whole if len(kept) == len(rows) and len(dumps(whole)) <= most else state
