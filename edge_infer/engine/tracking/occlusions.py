"""Occlusions: one object hid another. Once both objects are visible again, their tracks are matched anew."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from edge_infer.engine.tracking.kalman import KalmanMotion, Rows
from edge_infer.engine.tracking.track import ObjectTrack

SURE: Final = 0.5
"""Margin, in squared distance, by which swapped ids must fit better if one of the objects was hidden."""
SURE_OF_SEEN: Final = 2.0
"""Margin in place of `SURE` if both objects always had a box. This margin is larger, because one of the boxes may have
been a stray box."""
CALM: Final = 0.7
"""Assumed change of speed of both objects per second, in box sizes per second: people who pass each other keep
walking."""


@dataclass(slots=True)
class Occlusion:
    """Occlusion of two tracks. ``motion`` is their motion before it, predicted: row 0 ``hidden``, row 1 ``other``.

    ``behind`` are the seconds by which the prediction still has to be advanced; this happens only when it is needed.
    """

    hidden: ObjectTrack
    other: ObjectTrack
    motion: KalmanMotion
    since: float
    sure: float
    behind: float = 0.0

    def other_way_round(self, measured: Rows, gate: float) -> bool:
        """Return whether swapped ids fit the measured boxes ``[2, 4]`` better, each within ``gate``."""
        if self.behind:
            self.motion.predict(self.behind, CALM)
            self.behind = 0.0
        squared, _ = self.motion.distances(measured)
        if max(squared[0, 1], squared[1, 0]) > gate:
            return False
        return bool(squared[0, 1] + squared[1, 0] < squared[0, 0] + squared[1, 1] - self.sure)


@dataclass(slots=True)
class Occlusions:
    """Occlusions that are not resolved yet.

    While one object is hidden, the box of the other may match either, and the wrong track may learn from it. OC-SORT
    (Cao et al. 2023) goes back to the last observation before an object was lost. When both objects are seen again,
    this class lets their motions from before the occlusion decide.
    """

    _open: dict[ObjectTrack, Occlusion] = field(default_factory=dict)

    def predict(self, seconds: float) -> None:
        """Advance the predictions in time."""
        for meeting in self._open.values():
            meeting.behind += seconds

    def begin(
        self, hidden: ObjectTrack, other: ObjectTrack, motion: KalmanMotion, moment: float, *, seen: bool
    ) -> None:
        """Open an occlusion: ``hidden`` was expected at ``other`` and is not ``seen``, or is seen elsewhere."""
        if hidden not in self._open:
            self._open[hidden] = Occlusion(hidden, other, motion, moment, SURE_OF_SEEN if seen else SURE)

    def both_seen(self, seen: Container[ObjectTrack], since: float) -> list[Occlusion]:
        """Return the occlusions with both objects seen in this frame; drop those from before ``since``."""
        self._open = {hidden: meeting for hidden, meeting in self._open.items() if meeting.since >= since}
        return [meeting for meeting in self._open.values() if meeting.hidden in seen and meeting.other in seen]

    def settle(self, meeting: Occlusion) -> None:
        """Close a resolved occlusion."""
        del self._open[meeting.hidden]
