"""How a source and a pipeline do, from what was seen of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from edge_infer.codec import ABSENT, Absent
from edge_infer.errors import shortened
from edge_infer.messages import MOST, Latency, MotionHealth, PipelineHealth, Reason, SourceHealth, SourceState

LOST_AFTER: Final = 5.0
LOST_INTERVALS: Final = 10
FROZEN_AFTER: Final = 10.0
BLACK_AFTER: Final = 2.0
"""Seconds of black frames in a row before a source is called black: one dark frame of a switching camera is none."""
WINDOW: Final = 30.0
"""Seconds that rates and latencies are taken over."""


class SourceWatch:
    """Decides what state a source is in. Times are seconds of the monotonic clock, given by the caller."""

    def __init__(self, now: float, *, noisy: bool = True, quiet: bool = False, pause: float = 0.0) -> None:
        """``noisy``: equal frames show that it is stuck; ``quiet``: it may be silent for as long as it likes.

        Without trouble it may be silent for ``pause`` seconds, even before frames have told its usual interval.
        """
        self.error = ""
        self.ended = False
        self.faults = 0
        self._noisy = noisy
        self._quiet = quiet
        self._pause = pause
        self._seen = False
        self._last = now
        self._interval = 0.0
        self._changed = now
        self._black = False
        self._dark = now  # since when frames are black, where they are
        self._times: deque[float] = deque(maxlen=512)
        self._samples: deque[int] = deque(maxlen=512)  # of the stretch of each of these times

    def frame(self, now: float, *, repeated: bool = False, black: bool = False, samples: int = 0) -> None:
        """A frame arrived, or a stretch of ``samples``; ``repeated``: bit-equal to the one before."""
        if self._seen and not self.error:  # the time that a camera was away is no interval between two frames
            self._interval += (now - self._last - self._interval) * 0.2
        if not (repeated and self._noisy):
            self._changed = now
        if black and not self._black:
            self._dark = now
        self._black = black
        self._seen, self._last, self.error, self.ended = True, now, "", False
        self._times.append(now)
        self._samples.append(samples)

    def silence(self, now: float) -> float:
        """Seconds since the last frame, or since the start."""
        return now - self._last

    def held(self, now: float) -> None:
        """What has come waits for the pipelines, and the source for that: it is not silent."""
        if not self.error:
            self._last = now

    def trouble(self, text: str) -> None:
        """The reader gave a reason why there are no frames."""
        self.error = text

    def end(self) -> None:
        """There will be no more frames."""
        self.ended = True

    def state(self, now: float) -> SourceState:
        """The state as the contract defines it: lost after 5 s or ten intervals, frozen after 10 s of equal frames."""
        if self.ended:
            return "ended"
        pause = 0.0 if self.error else self._pause
        silent = now - self._last > max(LOST_AFTER, LOST_INTERVALS * self._interval, pause)
        if silent and not (self._quiet and not self.error):
            return "lost"
        if not self._seen and not self._quiet:
            return "starting"
        if self._last - self._changed > max(FROZEN_AFTER, LOST_INTERVALS * self._interval):
            return "frozen"
        return "black" if self._black and self._last - self._dark > BLACK_AFTER else "ok"

    def blocked(self, now: float) -> Reason | None:
        """Why nothing can be said about this source now; None when its frames hold."""
        return _REASONS.get(self.state(now))

    def health(self, now: float) -> SourceHealth:
        """What the health message says of this source."""
        error, faults = shortened(self.error) or ABSENT, min(self.faults, MOST) or ABSENT
        fps = rate(self._times, now)
        return SourceHealth(self.state(now), fps, error, faults, round(fps * self._stretch(now), 2) or ABSENT)

    def _stretch(self, now: float) -> float:
        """Samples of a stretch on average: what came after the first arrival, as its rate is counted."""
        recent = [count for moment, count in zip(self._times, self._samples, strict=True) if now - moment <= WINDOW]
        return sum(recent[1:]) / (len(recent) - 1) if len(recent) > 1 else 0.0


_REASONS: Final[Mapping[SourceState, Reason]] = {
    "ended": "source_ended",
    "lost": "source_lost",
    "frozen": "source_frozen",
    "starting": "starting",
}


class PipelineWatch:
    """Counts what a pipeline did; written by its thread, read by another."""

    def __init__(self, now: float) -> None:
        self.error = ""
        self.dropped = 0
        self.held_back = 0
        self.faults = 0
        self.busy_since = 0.0
        self.frames = 0
        """How many became an outcome."""
        self._started = now
        self._runs: deque[tuple[float, float | None]] = deque(maxlen=2048)
        self._still = self._looks = self._saved = 0
        self._gated = self._left_out = False

    def looked(self, looks: int, parts: int) -> None:
        """Of so many parts of the frame under way so many are looked at: none of a frame that is left out."""
        self._gated, self._left_out = True, looks == 0
        self._still += self._left_out
        self._looks += looks
        self._saved += parts - looks

    def done(self, now: float, milliseconds: float) -> None:
        """One frame became an outcome, ``milliseconds`` after its capture, which is no latency of a look left out."""
        self.frames += 1
        self._runs.append((now, None if self._left_out else milliseconds))

    def health(self, now: float, produced: int) -> PipelineHealth:
        """What the health message says of this pipeline; ``produced`` is the highest number it gave."""
        recent = [run for run in list(self._runs) if now - run[0] <= WINDOW]
        fps = rate([moment for moment, _ in recent], now)
        latency = _latency([milliseconds for _, milliseconds in recent if milliseconds is not None])
        error, held_back = shortened(self.error) or ABSENT, self.held_back or ABSENT
        faults = self.faults or ABSENT
        return PipelineHealth(fps, latency, min(self.dropped, MOST), produced, error, held_back, faults, self._motion())

    def _motion(self) -> MotionHealth | Absent:
        """What the gate has saved, where there is one."""
        if not self._gated:
            return ABSENT
        return MotionHealth(self._still, round(self._saved / max(1, self._saved + self._looks), 4))


def rate(times: deque[float] | list[float], now: float) -> float:
    """Events a second over the last `WINDOW`, from their times; 0 for fewer than two or when they have ceased."""
    recent = [moment for moment in list(times) if now - moment <= WINDOW]
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return 0.0
    interval = (recent[-1] - recent[0]) / (len(recent) - 1)
    return round(1.0 / interval, 2) if now - recent[-1] < max(LOST_AFTER, 2 * interval) else 0.0


def _latency(milliseconds: list[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(milliseconds, (50, 95, 99)))
    return Latency(p50, p95, p99)
