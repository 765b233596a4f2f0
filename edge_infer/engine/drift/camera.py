"""Learns how the pictures of a camera look, and notices when it is covered, out of focus, moved, dark or veiled."""

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
"""Seconds between two pictures that are looked at."""
LOOKS: Final = 5
"""Pictures whose medians count as the present, so that one passing object does not."""
MEAN_SECONDS, MEANS = 30.0, 10
"""Seconds of a mean, and how many means there are in the median that is a slow signal: 5 minutes."""
MAX_INTERVAL: Final = 3600.0
"""Longest pause between two pictures that a slow source may have."""
GAP: Final = 120.0
"""Seconds without a picture after which the present begins anew; more for a slow source."""
LEAST_FRAMES: Final = 2000
"""Pictures over which the appearances are learned, in `CAMERA_HOURS` at least. Then the extremes are, as long."""
BLOCK: Final = 3600.0
BLOCK_LOOKS: Final = 60
"""Seconds and pictures of which the largest deviation is one extreme."""
FAR: Final = 1.0
"""Distance from which on a picture has another appearance."""
LEAST_WEIGHT: Final = 3.0
"""Means that an appearance consists of at least: one may have been taken while the light was switched."""

Signal = Literal["detail", "dark", "sharpness", "moved", "changed", "detail_slow", "sharpness_slow", "veil"]
LEAST: Final[Mapping[Signal, float]] = {
    "detail": 1.5, "dark": 1.5, "sharpness": 0.6, "moved": 0.025, "changed": 0.4,
    "detail_slow": 0.6, "sharpness_slow": 0.4, "veil": 0.09,
}  # fmt: skip
"""Least deviation that counts, whatever the reference is. Octaves for detail, darkness and sharpness; a share of the
frame for a shift; a loss of agreement; a share of the edge profiles for a veil."""
MOST: Final[Mapping[Signal, float]] = {
    "detail": 6.0, "dark": 5.0, "sharpness": 3.0, "moved": 0.3, "changed": 1.0,
    "detail_slow": 6.0, "sharpness_slow": 3.0, "veil": 0.9,
}  # fmt: skip
"""Largest useful threshold. The signal tells nothing if the reference needs a larger one."""
SLOW: Final[frozenset[Signal]] = frozenset({"detail_slow", "sharpness_slow", "veil"})
"""Signals that are medians of five minutes."""
FLAT: Final = 0.9
"""Share without detail from which on a picture with too little detail is that of a covered lens."""
SAME_VIEW: Final = 0.4
"""Agreement from which on a picture shows the same view, so that its sharpness can be compared."""
SIMILAR: Final = 0.8
"""Agreement from which on nothing has moved."""
OVERLAP, OVERLAP_EACH = 0.6, 0.45
"""Agreement that the overlapping parts of a shifted picture have at least: of both profiles, and of each."""
STEADY: Final = 0.03
"""Share of the frame by which the shift of a moved camera may vary: that of an object that moves varies more."""
WEAK: Final = 0.6
"""Octaves by which edges under a veil are weaker than elsewhere."""
LASTS: Final[Mapping[CameraDrift, float]] = {
    "covered": 2.5, "dark": 2.5, "moved": 10.0, "defocused": 10.0, "veiled": 120.0, "changed": 120.0,
}  # fmt: skip
"""Seconds for which a kind has to last until it counts, unless a slow signal shows it: a vehicle may stop in the
picture for a minute. It also has to last for one picture a second of these, or for `LOOKS` more, so that a slow source
does not tell it from two or three pictures."""
END_SHARE, END_AFTER = 0.7, 60.0
"""A drift ends when its signal has been below this share of the threshold for so many seconds."""


@dataclass(frozen=True, slots=True)
class _View:
    """A picture, or the mean or median of several: its levels and its edge profiles."""

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
        """Return the median of each number, or the mean."""
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
        """Return the view between this one (share 0) and another one (share 1)."""
        return _View(
            self.light + share * (other.light - self.light),
            self.detail + share * (other.detail - self.detail),
            self.sharpness + share * (other.sharpness - self.sharpness),
            self.flat + share * (other.flat - self.flat),
            self.columns + share * (other.columns - self.columns),
            self.rows + share * (other.rows - self.rows),
        )

    def distance(self, other: _View) -> float:
        """Return how different two views are; `FAR` is another appearance."""
        return (
            abs(_octaves(self.light, other.light))
            + abs(self.detail - other.detail)
            + abs(self.sharpness - other.sharpness) * 2
            + (1.0 - self.agreement(other)) * 2
        )

    def agreement(self, other: _View) -> float:
        """Return how far the edges of two views lie in the same places."""
        return agreement(self.columns, self.rows, (other.columns, other.rows))


_LEAST_EDGE: Final = 0.05
_LEAST_LIGHT: Final = 0.01


def _octaves(light: float, other: float) -> float:
    return math.log2((light + _LEAST_LIGHT) / (other + _LEAST_LIGHT))


@dataclass(slots=True)
class _Known:
    """A learned appearance: the running mean of its views."""

    view: _View
    weight: float = 1.0

    def join(self, view: _View, weight: float = 1.0) -> None:
        """Take another view into the mean."""
        self.view = self.view.toward(view, weight / (self.weight + weight))
        self.weight += weight

    def packed(self) -> str:
        """Return what is kept of it."""
        view = self.view
        return pack_appearance(self.weight, (view.light, view.detail, view.sharpness), view.columns, view.rows)

    @classmethod
    def of(cls, packed: str) -> _Known:
        """Return a kept appearance; raises ValueError for a damaged one."""
        weight, (light, detail, sharpness), columns, rows = unpack_appearance(packed)
        return cls(_View(light, detail, sharpness, 0.0, columns, rows), weight)


@dataclass(frozen=True, slots=True)
class _Deviation:
    """How far a view is from the known appearances, by signal; ``shift`` is that of a moved picture.

    ``signed`` are losses that may be negative, of which the slow signals are made.
    """

    signals: dict[Signal, float]
    signed: dict[Signal, float]
    flat: float
    agreement: float
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
    veil = _veil(view, views[agreements.index(best)])
    signed: dict[Signal, float] = {"detail_slow": detail, "sharpness_slow": sharpness, "veil": veil}
    return _Deviation(signals, signed, view.flat, best, found)


def _means(found: list[Mapping[Signal, float]]) -> dict[Signal, float]:
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def _medians(found: Iterable[Mapping[Signal, float]]) -> dict[Signal, float]:
    """Return the medians, so that a mean across a switch of the light does not count."""
    means = list(found)
    return {name: max(0.0, median(each[name] for each in means)) for name in means[0]}


def _moved(view: _View, views: list[_View], unmoved: float) -> tuple[float, float] | None:
    """Return the shift that makes a view agree with one of the appearances of its light; None if none does."""
    best, found = max(OVERLAP, unmoved + 0.05), None
    for each in sorted(views, key=lambda other: abs(_octaves(view.light, other.light)))[:2]:
        (right, across), (down, along) = shift(view.columns, each.columns), shift(view.rows, each.rows)
        if (across + along) / 2 > best and min(across, along) > OVERLAP_EACH:
            best, found = (across + along) / 2, (right, down)
    return found


def _veil(view: _View, known: _View) -> float:
    """Return the share of the edge profiles that is weaker than the best quarter shows it should be."""
    weak = []
    for now, before in ((view.columns, known.columns), (view.rows, known.rows)):
        ratio = np.log2((now + 0.5) / (before + 0.5))
        weak.append(float((ratio < np.quantile(ratio, 0.75) - WEAK).mean()))
    return sum(weak) / 2


@dataclass(slots=True)
class _Raised:
    """A present drift: its kind, since when, and since when its signal has been low again."""

    kind: CameraDrift
    signal: Signal
    since: float
    low_since: float | None = None
    shift: tuple[float, float] | None = None


@dataclass(slots=True)
class CameraWatch:
    """Learns and judges the pictures of one pipeline. Times are seconds of a clock that does not jump.

    Raises ValueError for a damaged ``reference``.
    """

    basis: str
    false_alarm: float
    reference: CameraReference
    raised: _Raised | None = None
    _begun: tuple[CameraDrift | None, float] = (None, 0.0)
    _begun_shift: tuple[float, float] | None = None
    _begun_looks: int = 0
    _known: list[_Known] = field(default_factory=list)
    _extremes: dict[str, Extremes] = field(default_factory=dict)
    _looks: deque[_View] = field(default_factory=lambda: deque(maxlen=LOOKS))
    _mean: list[_View] = field(default_factory=list)
    _slow: list[Mapping[Signal, float]] = field(default_factory=list)
    _slow_means: deque[Mapping[Signal, float]] = field(default_factory=lambda: deque(maxlen=MEANS))
    _last: float | None = None
    _mean_since: float = 0.0
    _interval: float = EVERY
    _block: dict[Signal, float] = field(default_factory=dict)
    _block_since: float | None = None
    _block_looks: int = 0
    _now: dict[Signal, float] = field(default_factory=dict)
    _thresholds: dict[Signal, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take over what the reference holds, if it is of the same settings."""
        if self.reference.basis != self.basis:
            self.reference = CameraReference(self.basis)
        self._known = [_Known.of(each) for each in self.reference.appearances]
        self._extremes = {name: Extremes(*sums) for name, sums in self.reference.extremes.items()}
        self._set_thresholds()

    def expect(self, false_alarm: float) -> None:
        """Set the expected seconds between two false alarms."""
        self.false_alarm = false_alarm
        self._set_thresholds()

    def due(self, now: float) -> bool:
        """Return whether the next picture should be looked at."""
        return self._last is None or not 0.0 <= now - self._last < EVERY

    @property
    def learned(self) -> float:
        """Share of the reference that is complete."""
        built = min(1.0, self.reference.frames / LEAST_FRAMES, self.reference.hours / CAMERA_HOURS)
        blocks = min((each.count for each in self._extremes.values()), default=0)
        return min(1.0, (built + min(1.0, blocks / CAMERA_HOURS)) / 2)

    @property
    def shift(self) -> tuple[float, float] | None:
        """How far the content has moved, while it is moved."""
        return None if self.raised is None else self.raised.shift

    def see(self, now: float, signals: PictureSignals) -> None:
        """Take in a picture."""
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
            self._slow.append(found.signed)
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
            self._block_since = None if elapsed < 0 else self._block_since  # the clock began anew
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
        """Note the largest deviation of each hour."""
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
        blocks = 2 * len(LEAST) * self.false_alarm / BLOCK  # half of the alarms are for the answers of the model
        self._thresholds = {
            name: max(least, self._extremes.get(name, Extremes()).level(blocks)) for name, least in LEAST.items()
        }

    def _judge(self, now: float, found: _Deviation) -> None:
        above = {
            name
            for name, value in found.signals.items()
            if value > self._thresholds[name] and self._thresholds[name] <= MOST[name]
        }
        kind, raised = _kind(above, found), self.raised
        if kind is not None and (raised is None or _RANK[kind[0]] < _RANK[raised.kind]):
            self._raise(now, kind, found)
            return
        self._begun = None, now
        if raised is not None and raised.signal in found.signals:
            self._look_for_end(now, raised, found)

    def _raise(self, now: float, kind: tuple[CameraDrift, Signal], found: _Deviation) -> None:
        """Raise a drift of this kind once it has lasted."""
        if self._begun[0] != kind[0] or (kind[0] == "moved" and not _near(found.shift, self._begun_shift)):
            self._begun, self._begun_shift, self._begun_looks = (kind[0], now), found.shift, -1
        self._begun_looks += 1
        lasts = 0.0 if kind[1] in SLOW else LASTS[kind[0]]
        if now - self._begun[1] >= lasts and self._begun_looks >= min(LOOKS, lasts / EVERY):
            shift = found.shift if kind[0] == "moved" else None
            self.raised = _Raised(*kind, self._begun[1], shift=shift)

    def _look_for_end(self, now: float, raised: _Raised, found: _Deviation) -> None:
        if found.signals[raised.signal] > END_SHARE * self._thresholds[raised.signal]:
            raised.low_since = None
        elif raised.low_since is None:
            raised.low_since = now
        elif now - raised.low_since >= END_AFTER:
            self.raised = None

    def signals(self) -> dict[str, SignalDrift]:
        """Return the present deviations, and how far each is on the way to its threshold."""
        found: dict[str, SignalDrift] = {}
        for name, value in self._now.items():
            most, threshold = MOST[name], self._thresholds[name]
            telling = threshold <= most
            score = min(MAX_SCORE, value / threshold) if telling else 0.0
            found[name] = SignalDrift(round(value, 3), round(score, 3), None, telling)
        return found

    def kept(self) -> CameraReference:
        """Return the reference to keep."""
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
"""The more certain kind of two that apply at once has the lower rank."""


def _kind(above: set[Signal], found: _Deviation) -> tuple[CameraDrift, Signal] | None:
    """Return the kind of drift that signals above their threshold mean, and the one to watch for its end."""
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
                return "veiled", slow
    return ("changed", "changed") if "changed" in above else None
