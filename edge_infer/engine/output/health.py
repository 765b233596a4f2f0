"""Health of sources and pipelines, derived from their frames and errors."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from edge_infer.contract.codec import ABSENT, Absent
from edge_infer.contract.messages import MOST, Latency, MotionHealth, PipelineHealth, Reason, SourceHealth, SourceState
from edge_infer.errors import shortened
from edge_infer.ipc.messages import LATENCY_BOUNDS, PipelineCounts

LOST_AFTER: Final = 5.0
LOST_INTERVALS: Final = 10
FROZEN_AFTER: Final = 10.0
BLACK_AFTER: Final = 2.0
"""Seconds of consecutive black frames after which a source counts as black: a camera that switches modes may give one
dark frame."""
LEAST_SPAN: Final = 1.0
"""Minimum period in seconds over which a rate is computed: a few events that arrive together are not a high rate."""
WINDOW: Final = 30.0
"""Period in seconds over which rates and latencies are computed."""


class SourceWatch:
    """Determines the state of a source. The caller passes times in seconds of the monotonic clock."""

    def __init__(self, now: float, *, noisy: bool = True, quiet: bool = False, pause: float = 0.0) -> None:
        """``noisy``: identical frames show that the source is stuck. ``quiet``: the source may be silent for any time.

        Without an error the source may be silent for ``pause`` seconds, even before its frames have shown their usual
        interval.
        """
        self.error = ""
        self.away = ""
        """Reason why programs cannot find the source any more, although its reader still has it open. Unlike ``error``,
        this reason stays when a frame arrives."""
        self.silent = ""
        """Description of a silence that made the source lost although its reader reported no error. The description
        stays until a frame arrives or the reader reports an error."""
        self.ended = False
        self.faults = 0
        self._noisy = noisy
        self._quiet = quiet
        self._pause = pause
        self._seen = self._was_away = False
        self._last = now
        self._interval = 0.0
        self._changed = now
        self._black = False
        self._dark = now  # when the current run of black frames began
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=512)  # each with the number of samples in that block

    def frame(self, now: float, *, repeated: bool = False, black: bool = False, samples: int = 0) -> None:
        """Record a frame, or a block of ``samples``; ``repeated``: it is bit-identical to the previous one."""
        if self._seen and not (self.error or self._was_away):  # the time away is not a frame interval
            self._interval += (now - self._last - self._interval) * 0.2
        if not (repeated and self._noisy):
            self._changed = now
        if black and not self._black:
            self._dark = now
        self._black = black
        self._seen, self._last, self.error, self.ended, self._was_away = True, now, "", False, False
        self.silent = ""
        self._arrivals.append((now, samples))

    def lost_silently(self, now: float) -> bool:
        """Return whether the source is lost without a reported reason."""
        return self.state(now) == "lost" and not (self.error or self.away or self.silent)

    @property
    def seen(self) -> bool:
        """Whether a frame has ever arrived."""
        return self._seen

    def silence(self, now: float) -> float:
        """Return the seconds since the last frame, or since the start."""
        return now - self._last

    @property
    def unchanged(self) -> float:
        """Seconds for which all frames have been identical; 0 until that shows that the source is frozen."""
        seconds = self._last - self._changed
        return seconds if seconds > FROZEN_AFTER and seconds > LOST_INTERVALS * self._interval else 0.0

    def held(self, now: float) -> None:
        """Record that the source waits for the pipelines, so that this time does not count as silence."""
        if not self.error:
            self._last = now

    def trouble(self, text: str) -> None:
        """Record the reader's reason for the missing frames."""
        self.error, self.away, self.silent = text, "", ""

    def opened(self, away: str) -> None:
        """Record that the reader has the source open; ``away`` is empty if programs can find the source."""
        self._was_away = self._was_away or bool(self.error or self.away)
        self.error, self.away, self.ended = "", away, False

    def end(self) -> None:
        """Record that no more frames will arrive."""
        self.ended = True

    def state(self, now: float) -> SourceState:
        """Return the state as in the contract: lost after 5 s or ten intervals, frozen after 10 s of equal frames."""
        if self.ended:
            return "ended"
        if now - self._last > LOST_AFTER and self._lost(now - self._last):
            return "lost"
        if not self._seen and not self._quiet:
            return "starting"
        if self.unchanged:
            return "frozen"
        return "black" if self._black and self._last - self._dark > BLACK_AFTER else "ok"

    def _lost(self, silence: float) -> bool:
        wrong = bool(self.error or self.away)
        pause = 0.0 if wrong else self._pause
        usual = 0.0 if self.away else LOST_INTERVALS * self._interval
        return silence > max(LOST_AFTER, usual, pause) and (wrong or not self._quiet)

    def blocked(self, now: float) -> Reason | None:
        """Return the reason why the current frames of this source are not valid; None if they are valid."""
        return _REASONS.get(self.state(now))

    def health(self, now: float) -> SourceHealth:
        """Return the entry of this source in the health message."""
        state, fps = self.state(now), rate([moment for moment, _ in self._arrivals], now)
        error = self.error or self.away or (self.silent if state == "lost" else "")
        faults, pace = min(self.faults, MOST) or ABSENT, round(fps * self._stretch(now), 2) or ABSENT
        return SourceHealth(state, fps, shortened(error) or ABSENT, faults, pace)

    def _stretch(self, now: float) -> float:
        """Return the average number of samples per block. The first block only starts the period, as in `rate`."""
        recent = [count for moment, count in self._arrivals if now - moment <= WINDOW]
        return sum(recent[1:]) / (len(recent) - 1) if len(recent) > 1 else 0.0


_REASONS: Final[Mapping[SourceState, Reason]] = {
    "ended": "source_ended",
    "lost": "source_lost",
    "frozen": "source_frozen",
    "starting": "starting",
}


class PipelineWatch:
    """Counts the work of a pipeline. The pipeline's thread writes the counters; another thread reads them."""

    def __init__(self, now: float) -> None:
        self.error = ""
        self.dropped = 0
        self.held_back = 0
        self.faults = 0
        self.failed = 0
        self.busy_since = 0.0
        self.frames = 0
        """Number of frames that became an outcome."""
        self._started = now
        self._runs: deque[tuple[float, float | None]] = deque(maxlen=2048)
        self._still = self._looks = self._saved = 0
        self._latencies, self._seconds = [0] * (len(LATENCY_BOUNDS) + 1), 0.0
        self._gated = self._left_out = False

    def looked(self, looks: int, parts: int) -> None:
        """Record on how many of the ``parts`` of the current frame the model runs: 0 if the frame is skipped."""
        self._gated, self._left_out = True, looks == 0
        self._still += self._left_out
        self._looks += looks
        self._saved += parts - looks

    def done(self, now: float, milliseconds: float) -> None:
        """Record that a frame became an outcome ``milliseconds`` after its capture. A skipped frame adds no latency."""
        self.frames += 1
        if self._left_out:
            self._runs.append((now, None))
            return
        self._runs.append((now, milliseconds))
        seconds = milliseconds / 1000.0
        self._latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def health(self, now: float, produced: int) -> PipelineHealth:
        """Return the entry of this pipeline in the health message.

        ``produced`` is the highest sequence number of its results.
        """
        recent = [run for run in list(self._runs) if now - run[0] <= WINDOW]
        fps = rate([moment for moment, _ in recent], now)
        latency = _latency([milliseconds for _, milliseconds in recent if milliseconds is not None])
        error, held_back = shortened(self.error) or ABSENT, self.held_back or ABSENT
        faults = self.faults or ABSENT
        return PipelineHealth(fps, latency, min(self.dropped, MOST), produced, error, held_back, faults, self._motion())

    def counts(self) -> PipelineCounts:
        """Return the frames by outcome, and their latencies, since the start of this pipeline."""
        latencies = tuple(self._latencies)
        looked, dropped, failed = (min(count, MOST) for count in (sum(latencies), self.dropped, self.failed))
        return PipelineCounts(self._started, looked, self._still, dropped, failed, latencies, round(self._seconds, 3))

    def _motion(self) -> MotionHealth | Absent:
        """Return the work that the motion gate has saved; `ABSENT` without a motion gate."""
        if not self._gated:
            return ABSENT
        return MotionHealth(self._still, round(self._saved / max(1, self._saved + self._looks), 4))


def rate(times: deque[float] | list[float], now: float) -> float:
    """Return the events per second over the last `WINDOW`; 0 with fewer than two events, or if events have ceased."""
    recent = [moment for moment in list(times) if now - moment <= WINDOW]
    if len(recent) < 2:
        return 0.0
    interval = max(recent[-1] - recent[0], LEAST_SPAN) / (len(recent) - 1)
    return round(1.0 / interval, 2) if now - recent[-1] < max(LOST_AFTER, 2 * interval) else 0.0


def _latency(milliseconds: list[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(milliseconds, (50, 95, 99)))
    return Latency(p50, p95, p99)
