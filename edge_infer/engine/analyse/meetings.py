"""Two objects of which one hid the other for a moment: which of them is which when both are seen again."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from edge_infer.engine.analyse.kalman import Motion, Rows
from edge_infer.engine.analyse.track import Track

SURE: Final = 0.5
"""By how much, in squared distances, the other way round has to fit better where one was hidden."""
SURE_OF_SEEN: Final = 2.0
"""The same where each had a box all the time, of which one may have been a stray one."""
CALM: Final = 0.7
"""How much the speed of both is believed to change in a second, in sizes a second: who pass each other walk on."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """``motion`` is that of ``hidden`` (row 0) and ``other`` (row 1), predicted from before one was hidden."""

    hidden: Track
    other: Track
    motion: Motion
    since: float
    sure: float

    def other_way_round(self, measured: Rows, gate: float) -> bool:
        """Whether what now counts as the one, measured ``[2, 4]``, is the other; each has to be within ``gate``."""
        squared, _ = self.motion.distances(measured)
        if max(squared[0, 1], squared[1, 0]) > gate:
            return False
        return bool(squared[0, 1] + squared[1, 0] < squared[0, 0] + squared[1, 1] - self.sure)


@dataclass(slots=True)
class Meetings:
    """The meetings that are not settled.

    While one is hidden the box of the other may be taken for either, and what is learned from it then is learned of
    the wrong one. OC-SORT (Cao et al. 2023) goes back to what was observed before an object was lost; so does this:
    when both are seen again, their ways from before decide.
    """

    _open: dict[Track, Meeting] = field(default_factory=dict)

    def predict(self, seconds: float) -> None:
        """Time goes by."""
        for meeting in self._open.values():
            meeting.motion.predict(seconds, CALM)

    def begin(self, hidden: Track, other: Track, motion: Motion, moment: float, *, seen: bool) -> None:
        """``hidden``, which was about to be where ``other`` is, is not ``seen``, or where it was not expected."""
        if hidden not in self._open:
            self._open[hidden] = Meeting(hidden, other, motion, moment, SURE_OF_SEEN if seen else SURE)

    def both_seen(self, seen: Container[Track], since: float) -> list[Meeting]:
        """Those whose objects are both seen in this frame; those from before ``since`` are over."""
        self._open = {hidden: meeting for hidden, meeting in self._open.items() if meeting.since >= since}
        return [meeting for meeting in self._open.values() if meeting.hidden in seen and meeting.other in seen]

    def settle(self, meeting: Meeting) -> None:
        """It is known who is who."""
        del self._open[meeting.hidden]
