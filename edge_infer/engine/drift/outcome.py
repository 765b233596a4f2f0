"""Learns what a model usually finds at each hour of the day, and detects when its findings change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import OutcomeDrift
from edge_infer.engine.drift.answers import AnswerNumbers
from edge_infer.engine.drift.packed import pack_signal, unpack_signal
from edge_infer.engine.drift.statistics import (
    HOURS,
    Cusum,
    DailySignal,
    cusum_threshold,
    psi,
    psi_without_drift,
)
from edge_infer.ipc.drift import MAX_LABELS, MAX_LEVEL, MAX_SCORE, DriftHistogram, OutcomeReference, SignalDrift

WINDOW: Final = 900.0
LEAST_FRAMES_OF_WINDOW: Final = 20
"""Minimum length of a window, in seconds and frames. Windows of a slow pipeline last longer."""
LEAST_FRAMES: Final = 2000
LEAST_WINDOWS: Final = 60
"""Minimum numbers of frames and windows of a reference, in addition to the time to learn."""
GAP: Final = 3.0
"""A pause longer than this many windows interrupts the series: the next window is not compared with the window before
the pause."""
VARYING_FROM: Final = 0.4
"""Share of the learning after which windows count for the spread. Before, the hourly means are too uncertain."""
ALLOWANCE: Final = 0.5
"""Allowance of the cumulative sum (CUSUM), in standard deviations of a step."""
MOST_STEP: Final = 4.0
"""Limit of one step, in standard deviations, so that no single window raises an alarm."""
NEAR: Final = 0.1
"""Distance from the threshold within which a score counts for the signal ``near``."""
BACK_AFTER: Final = 8
BACK_WITHIN: Final = 1.0
"""A drift ends when the mean of the last `BACK_AFTER` windows is within this many standard deviations of the
reference."""
KEPT_SHARE: Final = 0.96
"""Factor by which the present histogram decays with each window, so that it covers about the last six hours."""

Histogram = Literal["score", "objects"]
BINS: Final[Mapping[Histogram, tuple[str, ...]]] = {
    "score": ("none", "to 0.2", "to 0.3", "to 0.4", "to 0.5", "to 0.6", "to 0.7", "to 0.8", "to 0.9", "to 1"),
    "objects": ("0", "1", "2", "3", "4", "5", "6 to 7", "8 to 10", "11 to 15", "16 on"),
}
_OBJECT_BINS: Final = (0, 1, 2, 3, 4, 5, 7, 10, 15)


@dataclass(slots=True)
class _Window:
    """Sums over the frames of one window."""

    since: float
    frames: int = 0
    nothing: int = 0
    scores: int = 0
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
        self.scores += len(numbers.scores)
        self.near += sum(abs(score - threshold) <= NEAR for score in numbers.scores)
        self.labels.update(numbers.labels)
        if numbers.objects is not None:
            self.nothing += numbers.objects == 0
            place = next((i for i, most in enumerate(_OBJECT_BINS) if numbers.objects <= most), 9)
            self.histograms["objects"][place] += 1
            score = numbers.score
            self.histograms["score"][0 if score is None else max(1, min(9, math.ceil(score * 10) - 1))] += 1

    def signals(self, labels: tuple[str, ...]) -> Iterator[tuple[str, float]]:
        """Yield the signals, each transformed so that its spread hardly depends on its level."""
        counts = self.counts
        for name in ("score", "margin", "size", "value"):
            if counts[name] >= LEAST_FRAMES_OF_WINDOW / 2:
                yield name, self.sums[name] / counts[name]
        if counts["objects"]:
            yield "objects", math.sqrt(max(0.0, self.sums["objects"]) / counts["objects"])
            yield "nothing", _angle(self.nothing / counts["objects"])
        if self.scores >= LEAST_FRAMES_OF_WINDOW:
            yield "near", _angle(self.near / self.scores)
        if (total := self.labels.total()) >= LEAST_FRAMES_OF_WINDOW:
            for number, label in enumerate(labels):
                yield f"label_{number + 1}", _angle(self.labels[label] / total)


def _level(value: float) -> float:
    """Return a value limited to the range of the report and rounded: the values of a model may be larger."""
    return round(max(-MAX_LEVEL, min(MAX_LEVEL, value)), 3)


def _angle(share: float) -> float:
    """Return the arcsine of the square root of a share.

    The transformation stabilises the variance: the spread is the same for all shares.
    """
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
"""Kinds of drift when a signal rises, and when it falls. A change of a label's share is always ``mix``."""
LEAST_SPREAD: Final[Mapping[str, float]] = {
    "score": 0.01, "margin": 0.01, "size": 0.05, "objects": 0.05, "nothing": 0.05, "near": 0.05,
    **{f"label_{number + 1}": 0.05 for number in range(MAX_LABELS)},
}  # fmt: skip
"""Minimum standard deviation of a step, for signals that did not vary during learning."""
SIGNALS: Final = len(_KINDS) + MAX_LABELS


@dataclass(slots=True)
class _Judged:
    """A learned signal: its mean at each hour of the day, the spread of a step, its autocorrelation, and its limit."""

    means: tuple[float | None, ...]
    spread: float
    correlation: float
    limit: float
    sums: Cusum = field(default_factory=lambda: Cusum(ALLOWANCE))

    @property
    def single(self) -> float:
        """Standard deviation of a window, used when the previous window is not known."""
        return self.spread / math.sqrt(1.0 - self.correlation**2)

    def add(self, deviation: float, before: float | None) -> float:
        """Add a window's deviation, less the part that the previous window explains.

        Return the cumulative sum divided by the limit.
        """
        step = deviation / self.single if before is None else (deviation - self.correlation * before) / self.spread
        return self.sums.add(max(-MOST_STEP, min(MOST_STEP, step))) / self.limit


@dataclass(slots=True)
class _RaisedOutcome:
    """The current drift: its kind and signal, the time it began, and the deviations of the last windows."""

    kind: OutcomeDrift
    signal: str
    since: float
    recent: list[float] = field(default_factory=list)


@dataclass(slots=True)
class OutcomeWatch:
    """Learns and judges the findings of one pipeline. Times are seconds of a clock that never jumps.

    Raises ValueError for a damaged ``reference``.
    """

    basis: str
    false_alarm: float
    learn: float
    threshold: float
    labels: tuple[str, ...]
    reference: OutcomeReference
    raised: _RaisedOutcome | None = None
    _signals: dict[str, DailySignal] = field(default_factory=dict)
    _learned_labels: Counter[str] = field(default_factory=Counter)
    _window: _Window | None = None
    _before: dict[str, tuple[float, float]] = field(default_factory=dict)  # time and deviation of the previous window
    _judged: dict[str, _Judged] = field(default_factory=dict)
    _now: dict[str, tuple[float, float]] = field(default_factory=dict)  # value, and its ratio to the limit
    _present: dict[Histogram, list[float]] = field(default_factory=lambda: {name: [0.0] * 10 for name in BINS})
    _seen: float = 0.0  # frames in the present histograms

    def __post_init__(self) -> None:
        """Load the reference, unless it was learned with other settings."""
        if self.reference.basis != self.basis:
            self.reference = OutcomeReference(self.basis)
        self._signals = {name: unpack_signal(packed) for name, packed in self.reference.signals.items()}
        if self.learned >= 1.0:
            self._set_limits()

    def expect(self, false_alarm: float, learn: float) -> None:
        """Set the expected time between two false alarms and the time to learn, in seconds."""
        if (false_alarm, learn) == (self.false_alarm, self.learn):
            return
        self.false_alarm, self.learn = false_alarm, learn
        if self.learned < 1.0:
            self.raised = None
        else:
            self._set_limits()

    @property
    def learned(self) -> float:
        """Share of the learning that is complete, 0 to 1."""
        found = self.reference
        windows = max((each.count for each in self._signals.values()), default=0)
        return min(1.0, found.frames / LEAST_FRAMES, found.hours * 3600 / self.learn, windows / LEAST_WINDOWS)

    def see(self, now: float, hour: int, numbers: AnswerNumbers) -> None:
        """Process the findings of a frame at this hour of the day."""
        window = self._window
        if window is None or now < window.since or now - window.since > GAP * max(WINDOW, self._usual):
            window = self._window = _Window(now)
        window.add(numbers, self.threshold)
        if now - window.since >= WINDOW and window.frames >= LEAST_FRAMES_OF_WINDOW:
            self._close(now, hour, window)
            self._window = _Window(now)

    @property
    def _usual(self) -> float:
        """Usual length of a window in seconds; it is longer for a slow pipeline."""
        windows = max((each.count for each in self._signals.values()), default=0)
        return self.reference.hours * 3600 / windows if windows else 86400.0

    def _close(self, now: float, hour: int, window: _Window) -> None:
        for name, counts in window.histograms.items():
            self._present[name] = [KEPT_SHARE * old + new for old, new in zip(self._present[name], counts, strict=True)]
        self._seen = KEPT_SHARE * self._seen + window.frames
        if self.learned < 1.0:
            self._learn(now, hour, window)
        else:
            self._judge(now, hour, window)

    def _learn(self, now: float, hour: int, window: _Window) -> None:
        reference, seconds = self.reference, now - window.since
        self._learned_labels.update(window.labels)
        labels = reference.labels
        if not labels and reference.hours * 3600 >= min(86400.0, self.learn / 4):  # all frequent labels have occurred
            frequent = self._learned_labels.most_common(MAX_LABELS)
            labels = tuple(self.labels.index(label) for label, _ in frequent if label in self.labels)
        for name, value in window.signals(self._named(labels)):
            signal = self._signals.setdefault(name, DailySignal())
            before, varying = self._previous(name, now, window), self.learned >= VARYING_FROM
            residual = signal.add(hour, value, before, varying=varying)
            if residual is not None:
                self._before[name] = now, residual
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

    def _named(self, places: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(self.labels[place] for place in places if place < len(self.labels))

    def _previous(self, name: str, now: float, window: _Window) -> float | None:
        """Return the deviation of the previous window from its mean; None after a pause longer than `GAP`."""
        at, deviation = self._before.get(name, (-math.inf, 0.0))
        return deviation if now - at < GAP * (now - window.since) else None

    def _set_limits(self) -> None:
        """Set the limit of each signal from the expected time between false alarms.

        The error of the hourly means would cause more false alarms. Therefore the standard deviation of that error is
        deducted from the allowance.
        """
        for name, signal in self._signals.items():
            error = 1.0 / math.sqrt(max(1.0, signal.count / HOURS))
            steps = self.false_alarm / self._usual * 2 * 2 * SIGNALS  # two directions; `CameraWatch` gets half
            limit = cusum_threshold(max(10.0, steps), max(0.1, ALLOWANCE - error))
            spread = max(signal.step_spread(), LEAST_SPREAD.get(name, 0.0))
            if 0.0 < spread < math.inf:
                means = tuple(mean if count else None for count, mean in zip(signal.counts, signal.means, strict=True))
                self._judged[name] = _Judged(means, spread, signal.correlation(), limit)

    def _judge(self, now: float, hour: int, window: _Window) -> None:
        found: dict[str, float] = {}
        for name, value in window.signals(self._named(self.reference.labels)):
            judged = self._judged.get(name)
            if judged is None or (mean := judged.means[hour]) is None:
                continue
            before, deviation = self._previous(name, now, window), value - mean
            self._before[name] = now, deviation
            found[name] = judged.add(deviation, before)
            self._now[name] = value, min(MAX_SCORE, abs(found[name]))
            if self.raised is not None and self.raised.signal == name:
                self._look_for_end(self.raised, deviation / judged.single)
        if self.raised is None and found:
            name = max(found, key=lambda each: abs(found[each]))
            if abs(found[name]) >= 1.0:
                rose, fell = _KINDS.get(name, ("mix", "mix"))
                self.raised = _RaisedOutcome(rose if found[name] > 0 else fell, name, now)

    def _look_for_end(self, raised: _RaisedOutcome, deviation: float) -> None:
        raised.recent = [*raised.recent, deviation][-BACK_AFTER:]
        if len(raised.recent) == BACK_AFTER and abs(sum(raised.recent)) / BACK_AFTER < BACK_WITHIN:
            self.raised = None
            for each in self._judged.values():
                each.sums.reset()

    def signals(self) -> dict[str, SignalDrift]:
        """Return the current value of each signal, and its ratio to the limit."""
        found: dict[str, SignalDrift] = {}
        for name, (value, score) in self._now.items():
            found[name] = SignalDrift(_level(value), round(score, 3), _level(self._signals[name].mean))
        return found

    def histograms(self) -> dict[str, DriftHistogram]:
        """Return the histograms of the reference and of the present, where both contain frames."""
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
        """Return the reference in the form in which it is stored."""
        signals = {name: pack_signal(each) for name, each in self._signals.items()}
        return replace(self.reference, signals=signals)
