"""Learns how a camera's pictures look, and detects when the camera is covered, out of focus, moved, dark or veiled.

Terms: a *look* is one examined picture. An *appearance* is the mean of similar pictures, such as those of one time of
day. A *signal* is a number that shows how much the present differs from the learned appearances.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal

import numpy as np

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import CameraDrift
from edge_infer.engine.drift.packed import pack_appearance, unpack_appearance
from edge_infer.engine.drift.picture import PictureSignals, Profile, agreement, shift
from edge_infer.engine.drift.statistics import Extremes
from edge_infer.ipc.drift import CAMERA_HOURS, MAX_APPEARANCES, MAX_SCORE, CameraReference, SignalDrift

EVERY: Final = 1.0
"""Minimum seconds between two pictures that are examined."""
LOOKS: Final = 5
"""Number of pictures in the median that represents the present, so that one passing object has no effect."""
MEAN_SECONDS, MEANS = 30.0, 10
"""Length in seconds of one mean, and the number of means of which a slow signal is the median: 5 minutes together."""
MAX_INTERVAL: Final = 3600.0
"""Upper limit in seconds of the running average of the interval between pictures."""
GAP: Final = 120.0
"""Seconds without a picture after which older pictures no longer represent the present. For a slow source the time is
longer."""
LEAST_FRAMES: Final = 2000
"""Minimum number of pictures for learning the appearances, in at least `CAMERA_HOURS` hours. Then the largest
deviations are collected for as many hours."""
BLOCK: Final = 3600.0
BLOCK_LOOKS: Final = 60
"""Minimum length of a block in seconds (`BLOCK`) and in pictures. The largest deviation of each block is one value of
`Extremes`."""
FAR: Final = 1.0
"""Minimum distance between two views of different appearances."""
LEAST_WEIGHT: Final = 3.0
"""Minimum number of means in an appearance: a single mean may come from the moment in which the light was switched."""

Signal = Literal["detail", "dark", "sharpness", "moved", "changed", "detail_slow", "sharpness_slow", "veil"]
LEAST: Final[Mapping[Signal, float]] = {
    "detail": 1.5, "dark": 1.5, "sharpness": 0.6, "moved": 0.025, "changed": 0.4,
    "detail_slow": 0.6, "sharpness_slow": 0.4, "veil": 0.09,
}  # fmt: skip
"""Minimum threshold of each signal, even if the reference gives a lower threshold. The unit is octaves for detail,
darkness and sharpness, a share of the frame for a shift, a loss of agreement for ``changed``, and a share of the edge
profiles for a veil."""
MOST: Final[Mapping[Signal, float]] = {
    "detail": 6.0, "dark": 5.0, "sharpness": 3.0, "moved": 0.3, "changed": 1.0,
    "detail_slow": 6.0, "sharpness_slow": 3.0, "veil": 0.9,
}  # fmt: skip
"""Maximum useful threshold. If the reference requires a larger threshold, the signal is not used."""
SLOW: Final[frozenset[Signal]] = frozenset({"detail_slow", "sharpness_slow", "veil"})
"""Signals that are medians over five minutes."""
FLAT: Final = 0.9
"""Minimum share of the picture without detail for a covered lens. With a smaller share, little detail has another
cause."""
SAME_VIEW: Final = 0.4
"""Minimum agreement at which a picture shows the same view, so that its sharpness can be compared with the
reference."""
SIMILAR: Final = 0.8
"""Minimum agreement at which the camera counts as not moved."""
OVERLAP, OVERLAP_EACH = 0.6, 0.45
"""Minimum agreement of the overlapping parts of a shifted picture: the mean of both edge profiles, and each of them."""
STEADY: Final = 0.03
"""Share of the frame by which the shift may vary while the camera counts as moved. The shift of a moving object varies
more."""
WEAK: Final = 0.6
"""Octaves by which edges must be weaker than the best-preserved quarter of the edges to count as veiled."""
ELSEWHERE, ELSEWHERE_SHARE = 0.4, 0.05
"""Octaves by which edges in some places must be stronger, so that the picture counts as turned and not as veiled. The
veils of ``scripts/drift`` stay below this number. ``ELSEWHERE_SHARE`` is the weight of each picture in the mean of
these octaves."""
LASTS: Final[Mapping[CameraDrift, float]] = {
    "covered": 2.5, "dark": 2.5, "moved": 10.0, "defocused": 10.0, "veiled": 120.0, "changed": 120.0,
}  # fmt: skip
"""Minimum duration in seconds of each kind of drift before it is reported: a vehicle may stop in the picture for a
minute.

A drift of a slow signal is reported at once. Any other drift must also show in further pictures: one for each of these
seconds, but not more than `LOOKS`. So two or three pictures of a slow source are not enough.
"""
END_SHARE, END_AFTER = 0.7, 60.0
"""A drift ends when its signal has been below this share of the threshold for this many seconds."""


@dataclass(frozen=True, slots=True)
class _View:
    """One picture, or the mean or median of several: its brightness, detail, sharpness and edge profiles."""

    light: float
    detail: float
    sharpness: float
    flat: float
    columns: Profile
    rows: Profile

    @classmethod
    def of(cls, signals: PictureSignals) -> _View:
        """Return the view of one picture."""
        detail = math.log2(_LEAST_EDGE + float(signals.columns.mean() + signals.rows.mean()))
        return cls(signals.light, detail, signals.sharpness, signals.flat, signals.columns, signals.rows)

    @classmethod
    def middle(cls, views: list[_View], *, mean: bool = False) -> _View:
        """Return the median, or with ``mean`` the mean, of each number of the views."""
        middle = np.mean if mean else np.median
        light, detail, sharpness, flat = (
            float(middle([getattr(each, name) for each in views])) for name in ("light", "detail", "sharpness", "flat")
        )
        columns, rows = (
            np.asarray(middle([getattr(each, name) for each in views], axis=0), np.float32)
            for name in ("columns", "rows")
        )
        return cls(light, detail, sharpness, flat, columns, rows)

    def toward(self, other: _View, share: float) -> _View:
        """Return the weighted mean of this view (``share`` 0) and another one (``share`` 1)."""
        return _View(
            self.light + share * (other.light - self.light),
            self.detail + share * (other.detail - self.detail),
            self.sharpness + share * (other.sharpness - self.sharpness),
            self.flat + share * (other.flat - self.flat),
            self.columns + share * (other.columns - self.columns),
            self.rows + share * (other.rows - self.rows),
        )

    def distance(self, other: _View) -> float:
        """Return the distance between two views. At `FAR` or more they are different appearances."""
        return (
            abs(_octaves(self.light, other.light))
            + abs(self.detail - other.detail)
            + abs(self.sharpness - other.sharpness) * 2
            + (1.0 - self.agreement(other)) * 2
        )

    def agreement(self, other: _View) -> float:
        """Return the agreement of the edges of two views: 1 if all edges are in the same places."""
        return agreement(self.columns, self.rows, (other.columns, other.rows))


_LEAST_EDGE: Final = 0.05
_LEAST_LIGHT: Final = 0.01


def _octaves(light: float, other: float) -> float:
    return math.log2((light + _LEAST_LIGHT) / (other + _LEAST_LIGHT))


@dataclass(slots=True)
class _Known:
    """A learned appearance: the running mean of its views. ``weight`` is the number of views."""

    view: _View
    weight: float = 1.0

    def join(self, view: _View, weight: float = 1.0) -> None:
        """Add another view to the mean."""
        self.view = self.view.toward(view, weight / (self.weight + weight))
        self.weight += weight

    def packed(self) -> str:
        """Return the appearance in its compact form."""
        view = self.view
        return pack_appearance(self.weight, (view.light, view.detail, view.sharpness), view.columns, view.rows)

    @classmethod
    def of(cls, packed: str) -> _Known:
        """Return an appearance from its compact form; raises ValueError for a damaged form."""
        weight, (light, detail, sharpness), columns, rows = unpack_appearance(packed)
        return cls(_View(light, detail, sharpness, 0.0, columns, rows), weight)


@dataclass(frozen=True, slots=True)
class _Deviation:
    """Differences between a view and the learned appearances, by signal. ``shift`` is the shift of a moved picture.

    ``signed`` are the differences that may be negative; the slow signals are computed from them. ``elsewhere`` is the
    number of octaves by which edges in some places became stronger.
    """

    signals: dict[Signal, float]
    signed: dict[Signal, float]
    flat: float
    agreement: float
    elsewhere: float
    shift: tuple[float, float] | None


def _deviation(view: _View, known: list[_Known]) -> _Deviation:
    views = [each.view for each in known]
    agreements = [view.agreement(each) for each in views]
    nearest = min(views, key=view.distance)
    best = max(agreements)
    detail, sharpness = nearest.detail - view.detail, nearest.sharpness - view.sharpness
    found = None if best >= SIMILAR else _moved(view, views, best)
    signals: dict[Signal, float] = {
        "detail": max(0.0, detail),
        "dark": max(0.0, min(_octaves(each.light, view.light) for each in views)),
        "sharpness": max(0.0, sharpness),
        "moved": 0.0 if found is None else math.hypot(*found),
        "changed": max(0.0, 1.0 - best),
    }
    veil, elsewhere = _veil(view, views[agreements.index(best)])
    signed: dict[Signal, float] = {"detail_slow": detail, "sharpness_slow": sharpness, "veil": veil}
    return _Deviation(signals, signed, view.flat, best, elsewhere, found)


def _means(found: list[Mapping[Signal, float]]) -> dict[Signal, float]:
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def _medians(found: Iterable[Mapping[Signal, float]]) -> dict[Signal, float]:
    """Return the median of each signal over the means; one mean during which the light was switched has no effect."""
    means = list(found)
    return {name: max(0.0, median(each[name] for each in means)) for name in means[0]}


def _moved(view: _View, views: list[_View], unmoved: float) -> tuple[float, float] | None:
    """Return the shift with which a view agrees with an appearance of similar brightness; None if no shift does."""
    best, found = max(OVERLAP, unmoved + 0.05), None
    for each in sorted(views, key=lambda other: abs(_octaves(view.light, other.light)))[:2]:
        (right, across), (down, along) = shift(view.columns, each.columns), shift(view.rows, each.rows)
        if (across + along) / 2 > best and min(across, along) > OVERLAP_EACH:
            best, found = (across + along) / 2, (right, down)
    return found


def _veil(view: _View, known: _View) -> tuple[float, float]:
    """Return the share of the edge profiles where edges are much weaker than in the best-preserved quarter.

    The second number is the octaves by which the strongest twentieth surpasses that quarter. A veil only weakens edges;
    a turn of the camera around its axis also moves them to other places.
    """
    weak, stronger = [], []
    for now, before in ((view.columns, known.columns), (view.rows, known.rows)):
        ratio = np.log2((now + 0.5) / (before + 0.5))
        preserved, most = np.quantile(ratio, (0.75, 0.95)).tolist()
        weak.append(float((ratio < preserved - WEAK).mean()))
        stronger.append(most - preserved)
    return sum(weak) / 2, sum(stronger) / 2


@dataclass(slots=True)
class _RaisedCamera:
    """The current drift: its kind and signal, its start time, and the time since which its signal is low again."""

    kind: CameraDrift
    signal: Signal
    since: float
    low_since: float | None = None
    shift: tuple[float, float] | None = None


@dataclass(slots=True)
class CameraWatch:
    """Learns and judges the pictures of one pipeline. Times are seconds of a clock that never jumps.

    Raises ValueError for a damaged ``reference``.
    """

    basis: str
    false_alarm: float
    reference: CameraReference
    raised: _RaisedCamera | None = None
    _begun: tuple[CameraDrift | None, float] = (None, 0.0)
    _begun_shift: tuple[float, float] | None = None
    _begun_looks: int = 0
    _known: list[_Known] = field(default_factory=list)
    _extremes: dict[str, Extremes] = field(default_factory=dict)
    _looks: deque[_View] = field(default_factory=lambda: deque(maxlen=LOOKS))
    _mean: list[_View] = field(default_factory=list)
    _slow: list[Mapping[Signal, float]] = field(default_factory=list)
    _slow_means: deque[Mapping[Signal, float]] = field(default_factory=lambda: deque(maxlen=MEANS))
    _elsewhere: float = 0.0
    _last: float | None = None
    _mean_since: float = 0.0
    _interval: float = EVERY
    _block: dict[Signal, float] = field(default_factory=dict)
    _block_since: float | None = None
    _block_looks: int = 0
    _now: dict[Signal, float] = field(default_factory=dict)
    _thresholds: dict[Signal, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Load the reference, unless it was learned with other settings."""
        if self.reference.basis != self.basis:
            self.reference = CameraReference(self.basis)
        self._known = [_Known.of(each) for each in self.reference.appearances]
        self._extremes = {name: Extremes(*sums) for name, sums in self.reference.extremes.items()}
        self._set_thresholds()

    def expect(self, false_alarm: float) -> None:
        """Set the expected time between two false alarms, in seconds."""
        self.false_alarm = false_alarm
        self._set_thresholds()

    def due(self, now: float) -> bool:
        """Return whether the next picture should be examined."""
        return self._last is None or not 0.0 <= now - self._last < EVERY

    @property
    def learned(self) -> float:
        """Share of the learning that is complete, 0 to 1."""
        built = min(1.0, self.reference.frames / LEAST_FRAMES, self.reference.hours / CAMERA_HOURS)
        blocks = min((each.count for each in self._extremes.values()), default=0)
        return min(1.0, (built + min(1.0, blocks / CAMERA_HOURS)) / 2)

    @property
    def shift(self) -> tuple[float, float] | None:
        """How far the picture content has moved; None unless the current drift is a moved camera."""
        return None if self.raised is None else self.raised.shift

    def see(self, now: float, signals: PictureSignals) -> None:
        """Process a picture."""
        view = _View.of(signals)
        self._pass_time(now)
        self._looks.append(view)
        if not self._is_built():
            self._mean.append(view)
            if self._mean_is_due(now, len(self._mean)):
                self._learn(_View.middle(self._mean, mean=True))
                self._mean = []
        elif len(self._looks) == LOOKS:
            found = _deviation(_View.middle(list(self._looks)), self._known)
            if found.agreement >= SAME_VIEW:  # the sharpness of another view cannot be compared
                self._slow.append(found.signed)
            self._elsewhere += ELSEWHERE_SHARE * (found.elsewhere - self._elsewhere)
            if self._mean_is_due(now, len(self._slow)):
                self._slow_means.append(_means(self._slow))
                self._slow = []
                if len(self._slow_means) == MEANS:
                    found.signals.update(_medians(self._slow_means))
            self._use(now, found)

    def _mean_is_due(self, now: float, count: int) -> bool:
        if now - self._mean_since < MEAN_SECONDS or count < LOOKS:
            return False
        self._mean_since = now
        return True

    def _is_built(self) -> bool:
        return self.reference.frames >= LEAST_FRAMES and self.reference.hours >= CAMERA_HOURS and bool(self._known)

    def _pass_time(self, now: float) -> None:
        elapsed = 0.0 if self._last is None else now - self._last
        self._last = now
        follows = 0 < elapsed <= max(GAP, 5 * self._interval)
        self._interval += 0.1 * (min(max(0.0, elapsed), MAX_INTERVAL) - self._interval)
        if not follows:
            for kept in (self._looks, self._mean, self._slow, self._slow_means):
                kept.clear()
            self._block_since = None if elapsed < 0 else self._block_since  # the clock has been reset
            self._mean_since, elapsed = now, 0.0
        if not self._is_built():
            frames, hours = self.reference.frames + 1, self.reference.hours + elapsed / 3600
            self.reference = replace(self.reference, frames=frames, hours=round(hours, 6))
            if self._is_built():
                self._known = [each for each in self._known if each.weight >= LEAST_WEIGHT] or self._known

    def _learn(self, mean: _View) -> None:
        if not self._known:
            self._known.append(_Known(mean))
            return
        nearest = min(self._known, key=lambda each: mean.distance(each.view))
        if mean.distance(nearest.view) < FAR:
            nearest.join(mean)
            return
        if len(self._known) == MAX_APPEARANCES:
            pairs = [(a, b) for index, a in enumerate(self._known) for b in self._known[index + 1 :]]
            one, other = min(pairs, key=lambda pair: pair[0].view.distance(pair[1].view))
            one.join(other.view, other.weight)
            self._known = [each for each in self._known if each is not other]
        self._known.append(_Known(mean))

    def _use(self, now: float, found: _Deviation) -> None:
        self._now.update(found.signals)
        if self.learned < 1.0:
            self._calibrate(now, found)
        else:
            self._judge(now, found)

    def _calibrate(self, now: float, found: _Deviation) -> None:
        """Collect the largest deviation of each block, while learning."""
        if self._block_since is None:
            self._block_since = now
        for name, value in found.signals.items():
            self._block[name] = max(value, self._block.get(name, 0.0))
        self._block_looks += 1
        if now - self._block_since < BLOCK or self._block_looks < BLOCK_LOOKS or len(self._block) < len(LEAST):
            return
        for name, largest in self._block.items():
            self._extremes.setdefault(name, Extremes()).add(largest)
        self._block, self._block_since, self._block_looks = {}, now, 0
        self._set_thresholds()

    def _set_thresholds(self) -> None:
        blocks = 2 * len(LEAST) * self.false_alarm / BLOCK  # `OutcomeWatch` gets the other half
        self._thresholds = {
            name: max(least, self._extremes.get(name, Extremes()).level(blocks)) for name, least in LEAST.items()
        }

    def _judge(self, now: float, found: _Deviation) -> None:
        above = {
            name
            for name, value in found.signals.items()
            if value > self._thresholds[name] and self._thresholds[name] <= MOST[name]
        }
        kind, raised = _kind(above, found, self._elsewhere), self.raised
        if kind is not None and (raised is None or (_RANK[kind[0]] < _RANK[raised.kind] and kind[1] != raised.signal)):
            self._raise(now, kind, found)
            return
        self._begun = None, now
        if raised is not None and raised.signal in found.signals:
            self._look_for_end(now, raised, found)

    def _raise(self, now: float, kind: tuple[CameraDrift, Signal], found: _Deviation) -> None:
        """Set the current drift to this kind, once it has lasted long enough."""
        if self._begun[0] != kind[0] or (kind[0] == "moved" and not _near(found.shift, self._begun_shift)):
            self._begun, self._begun_shift, self._begun_looks = (kind[0], now), found.shift, -1
        self._begun_looks += 1
        lasts = 0.0 if kind[1] in SLOW else LASTS[kind[0]]
        if now - self._begun[1] >= lasts and self._begun_looks >= min(LOOKS, lasts / EVERY):
            shift = found.shift if kind[0] == "moved" else None
            self.raised = _RaisedCamera(*kind, self._begun[1], shift=shift)

    def _look_for_end(self, now: float, raised: _RaisedCamera, found: _Deviation) -> None:
        if found.signals[raised.signal] > END_SHARE * self._thresholds[raised.signal]:
            raised.low_since = None
        elif raised.low_since is None:
            raised.low_since = now
        elif now - raised.low_since >= END_AFTER:
            self.raised = None
            # For some minutes the slow signals would still show this fault, which would then be reported as a new one.
            self._slow, self._mean_since = [], now
            self._slow_means.clear()

    def signals(self) -> dict[str, SignalDrift]:
        """Return the current value of each signal, and its ratio to the threshold."""
        found: dict[str, SignalDrift] = {}
        for name, value in self._now.items():
            most, threshold = MOST[name], self._thresholds[name]
            telling = threshold <= most
            score = min(MAX_SCORE, value / threshold) if telling else 0.0
            found[name] = SignalDrift(round(value, 3), round(score, 3), None, telling)
        return found

    def kept(self) -> CameraReference:
        """Return the reference in the form in which it is stored."""
        extremes = {name: (each.count, each.total, each.squares) for name, each in self._extremes.items()}
        return replace(
            self.reference,
            hours=round(self.reference.hours, 4),
            appearances=tuple(each.packed() for each in self._known),
            extremes={name: (count, round(a, 6), round(b, 6)) for name, (count, a, b) in extremes.items()},
        )


def _near(shift: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    return shift is not None and other is not None and math.dist(shift, other) <= STEADY


_RANK: Final[Mapping[CameraDrift, int]] = {
    "covered": 0, "dark": 1, "moved": 2, "defocused": 3, "veiled": 4, "changed": 5,
}  # fmt: skip
"""Priority of each kind. If two apply at once, the more certain one has the lower number."""


def _kind(above: set[Signal], found: _Deviation, elsewhere: float) -> tuple[CameraDrift, Signal] | None:
    """Return the kind of drift that the signals above their threshold show, and the signal that must fall to end it."""
    if "detail" in above and found.flat >= FLAT:
        return "covered", "detail"
    if "dark" in above:
        return "dark", "dark"
    if "moved" in above and found.shift is not None:
        return "moved", "moved"
    if found.agreement >= SAME_VIEW:
        for name in ("sharpness", "sharpness_slow"):
            if name in above:
                return "defocused", name
        for slow in ("veil", "detail_slow", "detail"):
            if slow in above:
                return ("changed" if slow == "veil" and elsewhere > ELSEWHERE else "veiled"), slow
    return ("changed", "changed") if "changed" in above else None
