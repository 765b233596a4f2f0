"""Learns how a model answers at each part of the day, and notices when it answers in another way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Final, Literal

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import OutcomeDrift
from edge_infer.engine.drift.answers import AnswerNumbers
from edge_infer.engine.drift.statistics import (
    PARTS_OF_DAY,
    Cusum,
    DailySignal,
    DayPart,
    cusum_threshold,
    psi,
    psi_without_drift,
)
from edge_infer.ipc.drift import DriftHistogram, OutcomeReference, SignalDrift

WINDOW: Final = 900.0
LEAST_FRAMES_OF_WINDOW: Final = 20
"""Seconds and frames of a window; a slow pipeline has longer ones."""
LEAST_FRAMES: Final = 2000
LEAST_WINDOWS: Final = 60
"""Frames and windows of a reference, besides the time to learn."""
GAP: Final = 3.0
"""A pause of so many windows cuts the correlation of one window with the one before."""
ALLOWANCE: Final = 0.5
"""Standard deviations of a step that the cumulative sum forgives."""
MOST_STEP: Final = 4.0
"""Standard deviations that one window counts at most, so that no single one raises an alarm."""
NEAR: Final = 0.1
"""Distance from the threshold within which a score counts as close to it."""
BACK_AFTER: Final = 8
BACK_WITHIN: Final = 1.0
"""A drift has ended when the mean of so many windows is within this many standard deviations of the reference."""
KEPT_SHARE: Final = 0.96
"""What is left of the present histogram after a window: it is that of the last six hours or so."""
MOST_LABELS: Final = 3

Histogram = Literal["score", "objects"]
BINS: Final[Mapping[Histogram, tuple[str, ...]]] = {
    "score": ("none", "to 0.2", "to 0.3", "to 0.4", "to 0.5", "to 0.6", "to 0.7", "to 0.8", "to 0.9", "to 1"),
    "objects": ("0", "1", "2", "3", "4", "5", "6 to 7", "8 to 10", "11 to 15", "16 on"),
}
_OBJECT_BINS: Final = (0, 1, 2, 3, 4, 5, 7, 10, 15)


@dataclass(slots=True)
class _Window:
    """Sums over the frames of a window."""

    since: float
    frames: int = 0
    nothing: int = 0
    near: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    histograms: dict[Histogram, list[int]] = field(default_factory=lambda: {name: [0] * 10 for name in BINS})

    def add(self, numbers: AnswerNumbers, threshold: float) -> None:
        """Add a frame."""
        self.frames += 1
        for name in ("objects", "score", "margin", "size", "value"):
            if (number := getattr(numbers, name)) is not None:
                self.sums[name] += number
                self.counts[name] += 1
        self.labels.update(numbers.labels)
        if numbers.objects is not None:
            self.nothing += numbers.objects == 0
            self.near += numbers.score is not None and abs(numbers.score - threshold) <= NEAR
            place = next((i for i, most in enumerate(_OBJECT_BINS) if numbers.objects <= most), 9)
            self.histograms["objects"][place] += 1
            score = numbers.score
            self.histograms["score"][0 if score is None else max(1, min(9, math.ceil(score * 10) - 1))] += 1

    def signals(self, labels: tuple[str, ...]) -> Iterator[tuple[str, float]]:
        """Yield the signals, in scales on which their spread hardly depends on their level."""
        counts = self.counts
        for name in ("score", "margin", "size", "value"):
            if counts[name] >= LEAST_FRAMES_OF_WINDOW / 2:
                yield name, self.sums[name] / counts[name]
        if counts["objects"]:
            yield "objects", math.sqrt(max(0.0, self.sums["objects"]) / counts["objects"])
            yield "nothing", _angle(self.nothing / counts["objects"])
            yield "near", _angle(self.near / counts["objects"])
        if (total := self.labels.total()) >= LEAST_FRAMES_OF_WINDOW:
            for number, label in enumerate(labels):
                yield f"label_{number + 1}", _angle(self.labels[label] / total)


def _angle(share: float) -> float:
    """Return the arcsine of the square root of a share, which has the same spread for all shares."""
    return math.asin(math.sqrt(min(1.0, max(0.0, share))))


_KINDS: Final[Mapping[str, tuple[OutcomeDrift, OutcomeDrift]]] = {
    "score": ("scores_higher", "scores_lower"),
    "margin": ("scores_higher", "scores_lower"),
    "near": ("scores_lower", "scores_higher"),
    "objects": ("more_objects", "fewer_objects"),
    "nothing": ("fewer_objects", "more_objects"),
    "size": ("larger", "smaller"),
    "value": ("values", "values"),
}
"""The kind of drift that a rise, and a fall, of a signal means; that of a share of labels is ``mix``."""
LEAST_SPREAD: Final[Mapping[str, float]] = {
    "score": 0.01, "margin": 0.01, "size": 0.05, "objects": 0.05, "nothing": 0.05, "near": 0.05,
    **{f"label_{number + 1}": 0.05 for number in range(MOST_LABELS)},
}  # fmt: skip
"""Least standard deviation of a step, for signals that never changed while they were learned."""
SIGNALS: Final = len(_KINDS) + MOST_LABELS


@dataclass(slots=True)
class _Judged:
    """A learned signal: its mean in each part of the day, the spread of a step, its correlation, and its limit."""

    means: tuple[float | None, ...]
    spread: float
    correlation: float
    limit: float
    sums: Cusum = field(default_factory=lambda: Cusum(ALLOWANCE))

    @property
    def single(self) -> float:
        """The standard deviation of a window whose window before is not known."""
        return self.spread / math.sqrt(1.0 - self.correlation**2)

    def deviation(self, part: int, value: float) -> float:
        """Return how far a value is from the mean of a part of the day."""
        return value - (self.means[part] or 0.0)

    def add(self, part: int, value: float, before: tuple[float, int] | None) -> float:
        """Add a window, without what the window before explains of it; return the sum as a share of the limit."""
        step, spread = self.deviation(part, value), self.single
        if before is not None and self.means[before[1]] is not None:
            step, spread = step - self.correlation * self.deviation(before[1], before[0]), self.spread
        return self.sums.add(max(-MOST_STEP, min(MOST_STEP, step / spread))) / self.limit


@dataclass(slots=True)
class _Raised:
    """A present drift: its kind and signal, whether it rose, since when, and the last deviations."""

    kind: OutcomeDrift
    signal: str
    since: float
    recent: list[float] = field(default_factory=list)


@dataclass(slots=True)
class OutcomeWatch:
    """Learns and judges the answers of one pipeline. Times are seconds of a clock that does not jump."""

    basis: str
    false_alarm: float
    learn: float
    threshold: float
    reference: OutcomeReference
    raised: _Raised | None = None
    _signals: dict[str, DailySignal] = field(default_factory=dict)
    _learned_labels: Counter[str] = field(default_factory=Counter)
    _window: _Window | None = None
    _before: dict[str, tuple[float, float, int]] = field(default_factory=dict)  # time, value and part of the day
    _judged: dict[str, _Judged] = field(default_factory=dict)
    _now: dict[str, tuple[float, float]] = field(default_factory=dict)  # value, and share of the way to the limit
    _present: dict[Histogram, list[float]] = field(default_factory=lambda: {name: [0.0] * 10 for name in BINS})
    _seen: float = 0.0  # frames in the present histograms

    def __post_init__(self) -> None:
        """Take over what the reference holds, if it is of the same settings."""
        if self.reference.basis != self.basis:
            self.reference = OutcomeReference(self.basis)
        self._signals = {
            name: DailySignal([_day_part(sums) for sums in parts]) for name, parts in self.reference.signals.items()
        }
        if self.learned >= 1.0:
            self._set_limits()

    @property
    def learned(self) -> float:
        """Share of the reference that is complete."""
        found = self.reference
        windows = max((each.count for each in self._signals.values()), default=0)
        return min(1.0, found.frames / LEAST_FRAMES, found.hours * 3600 / self.learn, windows / LEAST_WINDOWS)

    def see(self, now: float, hour: int, numbers: AnswerNumbers) -> None:
        """Take in the answer to a frame, at this hour of the day."""
        window = self._window
        if window is None or now < window.since or now - window.since > GAP * max(WINDOW, self._usual):
            window = self._window = _Window(now)
        window.add(numbers, self.threshold)
        if now - window.since >= WINDOW and window.frames >= LEAST_FRAMES_OF_WINDOW:
            self._close(now, hour * PARTS_OF_DAY // 24, window)
            self._window = _Window(now)

    @property
    def _usual(self) -> float:
        """The usual seconds of a window, which are more for a slow pipeline."""
        windows = max((each.count for each in self._signals.values()), default=0)
        return self.reference.hours * 3600 / windows if windows else 86400.0

    def _close(self, now: float, part: int, window: _Window) -> None:
        for name, counts in window.histograms.items():
            self._present[name] = [KEPT_SHARE * old + new for old, new in zip(self._present[name], counts, strict=True)]
        self._seen = KEPT_SHARE * self._seen + window.frames
        if self.learned < 1.0:
            self._learn(now, part, window)
        else:
            self._judge(now, part, window)

    def _learn(self, now: float, part: int, window: _Window) -> None:
        reference, seconds = self.reference, now - window.since
        self._learned_labels.update(window.labels)
        labels = reference.labels
        if not labels and reference.hours * 3600 >= min(86400.0, self.learn / 4):  # by then all of them occurred
            labels = tuple(label for label, _ in self._learned_labels.most_common(MOST_LABELS))
        for name, value in window.signals(labels):
            signal = self._signals.setdefault(name, DailySignal())
            before = self._previous(name, now, window)
            signal.add(part, value, before[0] if before is not None and before[1] == part else None)
            self._before[name] = now, value, part
        histograms = {
            name: tuple(a + b for a, b in zip(reference.histograms.get(name, (0,) * 10), counts, strict=True))
            for name, counts in window.histograms.items()
        }
        hours = round(reference.hours + seconds / 3600, 4)
        frames = reference.frames + window.frames
        self.reference = replace(reference, frames=frames, hours=hours, labels=labels, histograms=histograms)
        if self.learned >= 1.0:
            self._before.clear()
            self._set_limits()

    def _previous(self, name: str, now: float, window: _Window) -> tuple[float, int] | None:
        """Return value and part of the day of the window before, if this one follows it closely."""
        at, value, part = self._before.get(name, (-math.inf, 0.0, 0))
        return (value, part) if now - at < GAP * (now - window.since) else None

    def _set_limits(self) -> None:
        """Set the limit of each signal from the expected time between false alarms.

        The mean of a part of the day has an error of its own. An error of one standard deviation is deducted from the
        allowance, so that it does not shorten that time.
        """
        for name, signal in self._signals.items():
            error = 1.0 / math.sqrt(max(1.0, signal.count / PARTS_OF_DAY))
            steps = self.false_alarm / self._usual * 2 * 2 * SIGNALS  # both directions, and half is for the camera
            limit = cusum_threshold(max(10.0, steps), max(0.1, ALLOWANCE - error))
            spread = max(signal.step_spread(), LEAST_SPREAD.get(name, 0.0))
            if 0.0 < spread < math.inf:
                means = tuple(part.mean if part.count else None for part in signal.parts)
                self._judged[name] = _Judged(means, spread, signal.correlation(), limit)

    def _judge(self, now: float, part: int, window: _Window) -> None:
        found: dict[str, float] = {}
        for name, value in window.signals(self.reference.labels):
            judged = self._judged.get(name)
            if judged is None or judged.means[part] is None:
                continue
            before = self._previous(name, now, window)
            self._before[name] = now, value, part
            found[name] = judged.add(part, value, before)
            self._now[name] = value, min(1e6, abs(found[name]))
            if self.raised is not None and self.raised.signal == name:
                self._look_for_end(self.raised, judged.deviation(part, value) / judged.single)
        if self.raised is None and found:
            name = max(found, key=lambda each: abs(found[each]))
            if abs(found[name]) >= 1.0:
                rose, fell = _KINDS.get(name, ("mix", "mix"))
                self.raised = _Raised(rose if found[name] > 0 else fell, name, now)

    def _look_for_end(self, raised: _Raised, deviation: float) -> None:
        raised.recent = [*raised.recent, deviation][-BACK_AFTER:]
        if len(raised.recent) == BACK_AFTER and abs(sum(raised.recent)) / BACK_AFTER < BACK_WITHIN:
            self.raised = None
            for each in self._judged.values():
                each.sums.reset()

    def signals(self) -> dict[str, SignalDrift]:
        """Return the present signals, and how far each is on the way to its limit."""
        found: dict[str, SignalDrift] = {}
        for name, (value, score) in self._now.items():
            usual = sum(part.total for part in self._signals[name].parts) / max(1, self._signals[name].count)
            found[name] = SignalDrift(round(value, 3), round(score, 3), round(usual, 3))
        return found

    def histograms(self) -> dict[str, DriftHistogram]:
        """Return the histograms of the reference and of now, if there are frames in both."""
        found: dict[str, DriftHistogram] = {}
        for name, bins in BINS.items():
            reference, now = self.reference.histograms.get(name, ()), self._present[name]
            total, present = sum(reference), sum(now)
            if total and present:
                shares = tuple(round(count / total, 3) for count in reference)
                shares_now = tuple(round(count / present, 3) for count in now)
                noise = psi_without_drift(len(bins), total, present)
                found[name] = DriftHistogram(bins, shares, shares_now, round(psi(reference, now), 4), round(noise, 4))
        return found

    def kept(self) -> OutcomeReference:
        """Return the reference to keep."""
        signals = {
            name: tuple(tuple(round(number, 5) for number in astuple(part)) for part in signal.parts)
            for name, signal in self._signals.items()
        }
        return replace(self.reference, signals=signals)


def _day_part(sums: tuple[float, ...]) -> DayPart:
    count, total, squares, pairs, products, pair_totals = sums
    return DayPart(int(count), total, squares, int(pairs), products, pair_totals)
