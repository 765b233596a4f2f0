"""Pictures of sources for the page: at most two per second, each requested once for all viewers."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from edge_infer.page.upstream import Answer, Upstream

PAUSE: Final = 0.5
"""Minimum seconds between the starts of two pictures."""
KEPT: Final = 3
"""Number of pictures of a source in memory; a browser requests a picture after its description."""
FORGET_SECONDS: Final = 10.0
"""Seconds without a viewer after which this process forgets the pictures and the best sharpness."""
MAX_BYTES: Final = 1 << 20
MAX_SOURCES: Final = 64
MAX_VIEWERS: Final = 8
"""Maximum number of viewers at the same time; the daemon shows no pictures to further people."""
LEFT_SECONDS: Final = 5.0
"""Seconds without a request after which a person no longer counts as a viewer. The daemon's limit is shorter."""
Told = Callable[[Answer], None]


@dataclass(slots=True)
class _Series:
    """The current pictures of one source."""

    waiting: list[tuple[int, Told]] = field(default_factory=list)
    pictures: deque[tuple[int, tuple[int, ...], bytes]] = field(default_factory=lambda: deque(maxlen=KEPT))
    best: float = 0.0
    wanted_at: float = 0.0
    taking: bool = False


class Looks:
    """Requests pictures for waiting viewers, from the sources in turn."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._series: dict[str, _Series] = {}
        self._viewers: dict[int, float] = {}  # time of the last request, by user
        self._number = 0
        self._next_at = 0.0

    def want(self, source: str, uid: int, told: Told) -> None:
        """Register ``told`` to receive the description of the next picture."""
        if source not in self._series and len(self._series) >= MAX_SOURCES:
            told({"busy": "the page shows too many sources at once"})
            return
        now = time.monotonic()
        self._viewers = {each: at for each, at in self._viewers.items() if now < at + LEFT_SECONDS}
        if uid >= 0 and uid not in self._viewers and len(self._viewers) >= MAX_VIEWERS:
            told({"busy": f"{MAX_VIEWERS} people look at pictures already; try again later"})
            return
        if uid >= 0:
            self._viewers[uid] = now
        series = self._series.setdefault(source, _Series())
        series.wanted_at = now
        series.waiting.append((uid, told))

    def picture(self, source: str, number: str, uid: int) -> bytes | None:
        """Return the JPEG with this number.

        Return None if it is no longer in memory, or if it was not requested for this user.
        """
        series = self._series.get(source)
        if series is None:
            return None
        return next((data for each, users, data in series.pictures if str(each) == number and uid in users), None)

    def due(self) -> float:
        """Return the latest monotonic time of the next `step`; infinite while no viewer waits."""
        return self._next_at if self._ready() else math.inf

    def step(self, now: float) -> None:
        """Begin the next picture if it is due, and forget sources without viewers."""
        for source, series in list(self._series.items()):
            if not series.taking and not series.waiting and now > series.wanted_at + FORGET_SECONDS:
                del self._series[source]
        ready = self._ready()
        if ready and now >= self._next_at:
            source = min(ready, key=lambda name: self._series[name].wanted_at)
            self._next_at = now + PAUSE
            self._take(source, self._series[source])

    def _ready(self) -> list[str]:
        """Return the sources with waiting viewers and no picture in progress."""
        return [source for source, each in self._series.items() if each.waiting and not each.taking]

    def _take(self, source: str, series: _Series) -> None:
        series.taking = True
        waiting, series.waiting = series.waiting, []
        viewers = sorted({uid for uid, _ in waiting if uid >= 0})

        def done(answer: Answer, picture: bytes) -> None:
            series.taking = False
            told = self._described(source, series, answer, picture, tuple(uid for uid, _ in waiting))
            for _, tell in waiting:
                tell(told)

        body: dict[str, Any] = {"do": "look", "source": source, "viewers": viewers}
        self._upstream.ask_for_picture(body, done)

    def _described(
        self, source: str, series: _Series, answer: Answer, picture: bytes, users: tuple[int, ...]
    ) -> Answer:
        if "width" not in answer:
            return answer
        if not 0 < len(picture) <= MAX_BYTES:
            return {"error": f"the daemon sent {len(picture)} bytes that are not a picture"}
        self._number += 1
        series.pictures.append((self._number, users, picture))
        series.best = max(series.best, float(answer.get("sharpness", 0.0)))
        told = {key: value for key, value in answer.items() if key != "bytes"}
        place = f"/api/picture?source={source}&number={self._number}"
        return {"number": self._number, "picture": place, **told, "best": series.best}
