"""Simulates an engine that leaks on purpose: it hides a secret in valid messages, and a decoder reads it back.

The messages pass the publisher's own guard. Every field carries as much of the secret as it can. The amount that the
decoder recovers therefore comes close to the calculated bound (`edge_infer.plan.channel_bound`), and must never exceed
it.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, get_args

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.contract.messages import (
    CameraDrift,
    DetectedObject,
    Event,
    OutcomeDrift,
    Reason,
    Result,
    ScoredLabel,
    Segment,
    State,
    timestamp,
)
from edge_infer.contract.precision import MAX_MILLISECONDS, PRECISIONS, TIME_STEPS, Precision
from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import NumberedKind, StateSnapshot
from edge_infer.plan.channel_bound import PipelineBound, channel_bound
from edge_infer.plan.channel_rates import channel_rates
from edge_infer.plan.outcome_limits import MAX_BEFORE, most_items
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.platform.clock import kernel_tag
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.known_numbers import REACH, SAME
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.result_guard import Admitted, ResultGuard
from edge_infer.publisher.timestamps import Clock, seconds

PLAYED: Final = 200
"""Number of simulated messages of each kind, if their rate allows so many in `MAX_SECONDS`."""
MAX_SECONDS: Final = 2400.0
"""Maximum simulated time in seconds; simulating it takes a second or two."""
_WALL: Final = 1_700_000_000.0
"""Time of day at uptime 0."""
_START: Final = 10_000.0
_REASONS: Final[tuple[Reason, ...]] = (
    "starting", "source_lost", "source_frozen", "source_ended", "model_changed", "engine_failed", "stopped",
    "config_changed", "removed", "inactive",
)  # fmt: skip
_TASKS: Final = ("detection", "classification", "segmentation")


@dataclass(frozen=True, slots=True)
class Leak:
    """What the decoder recovered from one pipeline: bytes per second, and the calculated bound (None: unlimited)."""

    recovered: float
    bound: float | None


_UNSHIFTED: Final = tuple(kind for kind in (*get_args(OutcomeDrift), *get_args(CameraDrift)) if kind != "moved")
_SHIFTS: Final = 100
"""Steps of a shift to either side."""


def _subject(read: Event, kinds: tuple[str, ...], shifts: int) -> int:
    """Return one number for a kind of drift or, after all kinds, for the shift of a moved camera."""
    if read.shift is ABSENT:
        return kinds.index(read.kind or "")
    right, down = (round(part * _SHIFTS) + _SHIFTS for part in read.shift)
    return len(kinds) + right * shifts + down


class Secret:
    """A random number in a mixed radix with one digit per field, and the amount that the decoder has recovered.

    Both sides take fields in the same order. A digit below ``options`` counts as ``log2(options)`` bits.
    """

    def __init__(self) -> None:
        self.recovered = 0.0
        self.wrong = 0
        self._sent: deque[int] = deque()

    def put(self, options: int) -> int:
        """Return the next digit, for a field with ``options`` possible values."""
        digit = secrets.randbelow(options)
        self._sent.append(digit)
        return digit

    def got(self, digit: int, options: int) -> None:
        """Record the digit that the decoder read from the oldest field that is not read yet."""
        if self._sent.popleft() == digit:
            self.recovered += math.log2(options)
        else:
            self.wrong += 1


class SpareFields:
    """Fields that must carry no information.

    Each field is filled at random, and carries information if the decoder reads every value.
    """

    def __init__(self) -> None:
        self._sent: dict[str, list[int]] = {}
        self._read: dict[str, list[int]] = {}

    def put(self, field: str) -> bool:
        """Return whether to fill the field in the next message."""
        filled = secrets.randbelow(2)
        self._sent.setdefault(field, []).append(filled)
        return bool(filled)

    def got(self, field: str, *, filled: bool) -> None:
        """Record whether a message that left the guard has the field."""
        self._read.setdefault(field, []).append(int(filled))

    def bits(self) -> float:
        """Return the bits that the decoder has read."""
        return float(sum(len(sent) for field, sent in self._sent.items() if sent == self._read[field] and any(sent)))


def leaks(plan: Plan) -> dict[str, Leak]:
    """Return the leaks of all pipelines that can be simulated: with a bound, of three tasks, with whole frames."""
    bounds = channel_bound(plan)
    return {
        pipeline.name: _LeakingEngine(plan, pipeline, bounds[pipeline.name]).play()
        for pipeline in plan.pipelines
        if pipeline.model.task in _TASKS and not pipeline.crops and bounds[pipeline.name].total is not None
    }


class _LeakingEngine:
    """The simulated engine, the publisher's guard and the decoder, for one pipeline."""

    def __init__(self, plan: Plan, pipeline: PipelinePlan, bound: PipelineBound) -> None:
        self._now = _START
        self._pipeline, self._bound = pipeline, bound
        self._clock = Clock(says=lambda _: True, wall=lambda: _WALL + self._now, uptime=lambda: self._now)
        self._egress = Egress(self._clock)
        self._egress.apply(plan)
        self._guard = ResultGuard(self._egress, self._clock)
        self._guard.apply(plan)
        self._rates = channel_rates(plan, pipeline)
        self._precision, self._step = PRECISIONS[pipeline.detail], TIME_STEPS[pipeline.detail]
        self._labels = tuple(sorted(set(pipeline.labels or pipeline.model.labels)))
        self._boot = kernel_tag() + "0" * 8
        self._tried: list[str] = []
        self._secret, self._spare, self._length = Secret(), SpareFields(), 0.0

    def play(self) -> Leak:
        """Return the bytes per second that the decoder recovered, and the bound. A refused message carries nothing."""
        recovered = 0.0
        for rate, stream in (
            (self._rates.results, self._results),
            (self._rates.states, self._states),
            (self._rates.events, self._events if self._pipeline.events else self._drifts),
        ):
            if rate:
                self._now, self._secret, self._spare = _START, Secret(), SpareFields()
                self._length = min(MAX_SECONDS, PLAYED / rate)
                stream(rate)
                bits = self._secret.recovered + self._spare.bits()
                recovered += bits / 8 / (self._length + _AHEAD / rate)
        return Leak(round(recovered, 3), None if self._bound.total is None else round(self._bound.total, 3))

    def _moments(self, rate: float, spread: float = 2.0) -> Iterator[float]:
        """Yield capture times, ``rate`` per second on average; the distances between them carry bits."""
        self._timing = _Timing(rate, self._step, spread)
        while True:
            at = self._timing.next(self._secret.put(self._timing.options))
            if at > _START + self._length:
                return
            self._now = at
            yield at

    def _read_moment(self, ts: str) -> None:
        self._secret.got(self._timing.read(seconds(ts) - _WALL), self._timing.options)

    def _results(self, rate: float) -> None:
        codec = _items(self._pipeline, self._labels, self._precision)
        size, options = codec.fitting(self._pipeline, self._result(1, ABSENT, codec, ()))
        choices, times = math.comb(options + size - 1, size), _durations(self._precision)
        for seq, at in zip(count(1), self._moments(rate, _STEADY), strict=False):
            rank, ms = self._secret.put(choices), self._secret.put(len(times))
            found = [codec.item(index) for index in _unranked(rank, size)]
            result = self._result(seq, times[ms], codec, tuple(found))
            payload = self._leaves("result", result, at)
            read = decode_json(Result, payload)
            self._read_moment(read.ts)
            self._secret.got(_ranked(sorted(map(codec.index, getattr(read, codec.key)))), choices)
            self._secret.got(times.index(read.ms or 0.0), len(times))

    def _result(self, seq: int, ms: Any, codec: _Items, items: tuple[Any, ...]) -> Result:
        model = self._pipeline.model
        outcome: dict[str, Any] = {codec.key: items}
        return Result(
            1, timestamp(_WALL), self._boot, seq, model.title, model.sha256[:8], model.task, ms, **outcome
        )  # fmt: skip

    def _states(self, rate: float) -> None:
        model, most = self._pipeline.model, most_items(self._pipeline)
        counted = self._pipeline.state_key == "counts"
        choices = math.comb(len(self._labels) + most, most) if counted else len(self._labels) + 1
        began = before = _START
        for at in self._moments(rate):
            later = (math.floor(at / self._step) - math.floor(before / self._step)) * self._step > SAME
            starts = 2 if later else 1  # whether the state begins at this time or earlier
            fresh, outcome = divmod(self._secret.put(starts * (choices + len(_REASONS))), choices + len(_REASONS))
            began, before = (at if fresh else began), at
            said: dict[str, Any]
            if outcome >= choices:
                said = {"counts" if counted else "class_": None, "reason": _REASONS[outcome - choices]}
            elif counted:
                chosen = _unranked(outcome, most)
                counts = {label: chosen.count(index) for index, label in enumerate(self._labels) if index in chosen}
                said = {"counts": counts}
            else:
                said = {"class_": self._labels[outcome - 1] if outcome else None}
            state = State(
                1, timestamp(_WALL + at), self._boot, model.title, model.sha256[:8], timestamp(_WALL + began), **said
            )  # fmt: skip
            state = self._filled(state)
            if self._guard.wait(self._pipeline.name):
                raise AssertionError("the test engine was faster than the rate")
            plausible, moment = self._guard.state(StateSnapshot(self._pipeline.name, state, at))
            read = decode_json(
                State, self._released("state", self._egress.admit(self._place("state"), plausible, moment))
            )
            self._read_moment(read.ts)
            self._read_spare(read)
            fresh = int(starts == 2 and read.since == read.ts)
            found = _REASONS.index(read.reason) + choices if read.reason else self._outcome_of(read, most)
            self._secret.got(fresh * (choices + len(_REASONS)) + found, starts * (choices + len(_REASONS)))

    def _outcome_of(self, state: State, most: int) -> int:
        if isinstance(state.class_, str):
            return 1 + self._labels.index(state.class_)
        counts = state.counts or {}
        found = [index for index, label in enumerate(self._labels) for _ in range(counts.get(label, 0))]
        return _ranked(found + [len(self._labels)] * (most - len(found))) if state.counts is not ABSENT else 0

    def _events(self, rate: float) -> None:
        tracked = self._pipeline.track is not None
        scores, before = _scores(self._precision, self._pipeline.floor), int(MAX_BEFORE / self._step)
        ids, boxes = (REACH if tracked else 1), (_boxes(self._precision) if tracked else 1)
        begin = (len(scores) + 1, boxes, len(self._labels), ids, before)
        end = (len(scores) + 1, boxes, len(_REASONS) + 1)
        begun: tuple[int, ...] = ()
        began = 0.0
        for seq, at in zip(count(1), self._moments(rate), strict=False):
            ends, kind = bool(begun), "appear" if tracked else "start"
            if ends:
                score, box, reason = _digits(self._secret.put(math.prod(end)), end)
                kind = "leave" if tracked else "end"
            else:
                score, box, *begun_parts = _digits(self._secret.put(math.prod(begin)), begin)
                begun, reason = tuple(begun_parts), 0
                began = at - begun[2] * self._step
            event = Event(
                1, timestamp(_WALL + at), self._boot, seq, kind,  # type: ignore[arg-type]
                label=self._labels[begun[0]], id=begun[1] + 1 if tracked else ABSENT,
                score=scores[score - 1] if score else ABSENT, box=_box(box, self._precision) if tracked else ABSENT,
                since=timestamp(_WALL + began), reason=_REASONS[reason - 1] if reason else ABSENT,
            )  # fmt: skip
            read = decode_json(Event, self._leaves("event", event, at, begun=ends))
            self._read_moment(read.ts)
            parts = [0 if read.score is ABSENT else scores.index(read.score) + 1]
            parts.append(_index_of_box(read.box, self._precision) if read.box else 0)
            if ends:
                parts.append(_REASONS.index(read.reason) + 1 if read.reason else 0)
                begun = ()
            else:
                assert read.since
                lasted = round((seconds(read.ts) - seconds(read.since)) / self._step)
                parts += [self._labels.index(read.label or ""), (read.id or 1) - 1, lasted]
            self._secret.got(_number(parts, end if ends else begin), math.prod(end if ends else begin))

    def _drifts(self, rate: float) -> None:
        """Simulate the events of drift; a pipeline without other events has only these."""
        kinds, shifts, before = _UNSHIFTED, 2 * _SHIFTS + 1, int(MAX_BEFORE / self._step)
        subjects, begun, began = len(kinds) + shifts * shifts, -1, 0.0
        for seq, at in zip(count(1), self._moments(rate), strict=False):
            ends, choices = begun >= 0, (len(_REASONS) + 1,) if begun >= 0 else (subjects, before)
            digits = _digits(self._secret.put(math.prod(choices)), choices)
            if not ends:
                begun, began = digits[0], at - digits[1] * self._step
            right, down = divmod(max(0, begun - len(kinds)), shifts)
            moved = begun >= len(kinds)
            event = Event(
                1, timestamp(_WALL + at), self._boot, seq, "drift_end" if ends else "drift",
                kind="moved" if moved else kinds[begun], since=timestamp(_WALL + began),
                shift=((right - _SHIFTS) / _SHIFTS, (down - _SHIFTS) / _SHIFTS) if moved and not ends else ABSENT,
                reason=_REASONS[digits[0] - 1] if ends and digits[0] else ABSENT,
            )  # fmt: skip
            read = decode_json(Event, self._leaves("event", event, at, begun=ends))
            self._read_moment(read.ts)
            if ends:
                parts, begun = [_REASONS.index(read.reason) + 1 if read.reason else 0], -1
            else:
                assert read.since
                lasted = round((seconds(read.ts) - seconds(read.since)) / self._step)
                parts = [_subject(read, kinds, shifts), lasted]
            self._secret.got(_number(parts, choices), math.prod(choices))

    def _place(self, kind: Any) -> Place:
        return Place(kind, self._pipeline.name)

    def _leaves(self, kind: NumberedKind, message: Result | Event, at: float, *, begun: bool = False) -> bytes:
        series, message = MessageSeries(self._pipeline.name, self._boot, kind), self._filled(message)
        admitted = self._guard.admit(series, message, at, highest=message.seq - 1, is_open=lambda *_: begun)
        payload = self._released(kind, admitted.payload if isinstance(admitted, Admitted) else None)
        self._read_spare(decode_json(type(message), payload))
        return payload

    def _released(self, kind: str, payload: bytes | None) -> bytes:
        sent = None if payload is None else self._egress.release(self._place(kind), payload)
        if sent is None:
            raise AssertionError(f"the guard rejected a {kind} that its bound counts")
        return sent

    def _filled(self, message: Any) -> Any:
        """Return the message with spare fields filled at random: marks, empty groups, and labels with a count of 0."""
        spare = _spare_fields(message, still=self._pipeline.motion is not None)
        self._tried = [*spare]
        message = replace(message, **{name: value for name, value in spare.items() if self._spare.put(name)})
        if isinstance(message, State) and isinstance(message.counts, Mapping):
            free = [label for label in self._labels if label not in message.counts][:_MOST_ZEROS]
            self._tried += free
            zeros = dict.fromkeys((label for label in free if self._spare.put(label)), 0)
            message = replace(message, counts={**message.counts, **zeros})
        return message

    def _read_spare(self, read: Result | Event | State) -> None:
        counts = (read.counts or {}) if isinstance(read, State) else {}
        for name in self._tried:
            self._spare.got(name, filled=name in counts or getattr(read, name, ABSENT) is not ABSENT)


def _spare_fields(message: Result | Event | State, *, still: bool) -> dict[str, Any]:
    """Return the optional fields of a message that the bound does not count.

    ``still``: whether the bound counts the field ``still``.
    """
    found: dict[str, Any] = {"clock": "unsynced"}
    if isinstance(message, Event):
        return {**found, "replay": True, "skipped": 1}
    if isinstance(message, Result):
        return {**found, "replay": True, **({} if still else {"still": True})}
    found |= {} if message.reason else {"answers": ()}
    return {**found, "zones": {}, "lines": {}, "ids": {}} if isinstance(message.counts, Mapping) else found


_MOST_ZEROS: Final = 20
"""Number of labels with a count of 0 that always fit into a state, with any other content."""


class _Timing:
    """Distances in time between messages, in whole steps.

    Engine and decoder both know when the engine has to wait for its rate.
    """

    def __init__(self, rate: float, step: float, spread: float) -> None:
        """``spread`` is the range of the distances as a multiple of the usual one, at most 2."""
        usual = 1.0 / rate / step  # in steps
        self.options = max(1, int(spread * usual))
        self._least, self._rate, self._step = math.ceil(usual - (self.options - 1) / 2), rate, step
        self._sent = self._read = (_START, _AHEAD)

    def next(self, number: int) -> float:
        """Return the time of the next message, which encodes a number below ``options``."""
        self._sent = self._after(self._sent, self._earliest(self._sent) + number * self._step)
        return self._sent[0]

    def read(self, at: float) -> int:
        """Return the number that the time of the next message encodes."""
        earliest = self._earliest(self._read)
        number = round((at - earliest) / self._step) if self.options > 1 else 0
        self._read = self._after(self._read, earliest + number * self._step)
        return number

    def _earliest(self, last: tuple[float, float]) -> float:
        at, left = last
        if self.options == 1:
            return at + 1.0 / self._rate
        return at + max(self._least, math.ceil((1.0 - left) / self._rate / self._step)) * self._step

    def _after(self, last: tuple[float, float], at: float) -> tuple[float, float]:
        """Return the time of a message, and the number of messages by which the engine may be ahead of its rate."""
        return at, min(_AHEAD, last[1] + (at - last[0]) * self._rate) - 1.0


_STEADY: Final = 0.5
"""Spread of the times of results. Times carry little information compared with the items, and pauses would cost
more."""
_AHEAD: Final = 8.0
"""Maximum number of messages by which the engine is ahead of its rate. These messages use up captures from before its
start."""


def _digits(number: int, options: tuple[int, ...]) -> list[int]:
    """Return the digits of a number in a mixed radix; ``options`` are the numbers of values of each digit."""
    found = []
    for each in options:
        number, digit = divmod(number, each)
        found.append(digit)
    return found


def _number(digits: list[int], options: tuple[int, ...]) -> int:
    number = 0
    for digit, each in zip(reversed(digits), reversed(options), strict=True):
        number = number * each + digit
    return number


# The items of a result as numbers. Their order by score may differ from that by number, as long as each item has its
# own.


@dataclass(frozen=True, slots=True)
class _Items:
    """The list of a result: all items that it may hold, as numbers below ``options``."""

    key: str
    options: int
    item: Callable[[int], Any]
    index: Callable[[Any], int]
    longest: Any

    def fitting(self, pipeline: PipelinePlan, empty: Result) -> tuple[int, int]:
        """Return the number of items that always fit, and the number of their possible values."""
        head = len(dumps(replace(empty, ms=MAX_MILLISECONDS, seq=10**6)))
        return min(most_items(pipeline), (pipeline.max_payload - head) // (len(dumps(self.longest)) + 1)), self.options


def _items(pipeline: PipelinePlan, labels: tuple[str, ...], precision: Precision) -> _Items:
    task, scores = pipeline.model.task, _scores(precision, pipeline.floor)
    most = max(labels, key=lambda label: len(dumps(label)))
    long_score = 0.123 if precision.decimals == 3 else 0.1
    if task == "classification":
        return _Items(
            "classes", len(labels) * len(scores),
            lambda index: ScoredLabel(labels[index % len(labels)], scores[index // len(labels)]),
            lambda item: scores.index(item.score) * len(labels) + labels.index(item.label),
            ScoredLabel(most, long_score),
        )  # fmt: skip
    if task == "segmentation":
        places = [precision.place(step / precision.steps) for step in range(precision.steps + 1)]
        return _Items(
            "segments", len(labels) * len(places),
            lambda index: Segment(labels[index % len(labels)], places[index // len(labels)]),
            lambda item: places.index(item.share) * len(labels) + labels.index(item.label),
            Segment(most, 0.1234),
        )  # fmt: skip
    ids, boxes = (REACH if pipeline.track else 1), _boxes(precision)
    kinds = len(labels) * len(scores) * ids

    def made(index: int) -> DetectedObject:
        box, kind = divmod(index, kinds)
        score, label, number = kind % len(scores), kind // len(scores) % len(labels), kind // len(scores) // len(labels)
        found = number + 1 if pipeline.track else ABSENT
        return DetectedObject(labels[label], scores[score], _box(box, precision), id=found)

    def index_of(item: DetectedObject) -> int:
        kind = ((item.id or 1) - 1) * len(labels) + labels.index(item.label)
        return _index_of_box(item.box, precision) * kinds + kind * len(scores) + scores.index(item.score)

    longest = DetectedObject(most, long_score, (0.1234,) * 4, id=9999 if pipeline.track else ABSENT)
    return _Items("objects", boxes * kinds, made, index_of, longest)


def _scores(precision: Precision, least: float) -> list[float]:
    scale = 10**precision.decimals
    return [step / scale for step in range(round(precision.score(least) * scale), scale + 1)]


def _durations(precision: Precision) -> list[float]:
    """Return all times in milliseconds that the precision allows."""
    found = {precision.milliseconds(step / 10) for step in range(10**precision.decimals)}
    for power in range(precision.decimals - 1, 6):
        scale = 10.0 ** (power - precision.decimals + 1)
        found |= {precision.milliseconds(step * scale) for step in range(10**precision.decimals)}
    return sorted(found)


def _pairs(precision: Precision) -> int:
    return (precision.steps + 1) * (precision.steps + 2) // 2


def _boxes(precision: Precision) -> int:
    return _pairs(precision) ** 2


def _box(index: int, precision: Precision) -> tuple[float, float, float, float]:
    (left, right), (top, bottom) = (_unranked(each, 2) for each in divmod(index, _pairs(precision)))
    return tuple(precision.place(each / precision.steps) for each in (left, top, right, bottom))  # type: ignore[return-value]


def _index_of_box(box: tuple[float, ...], precision: Precision) -> int:
    left, top, right, bottom = (round(each * precision.steps) for each in box)
    return _ranked([left, right]) * _pairs(precision) + _ranked([top, bottom])


def _ranked(numbers: list[int]) -> int:
    """Return a number for a sorted list of numbers, in which numbers may repeat."""
    return sum(math.comb(number + place, place + 1) for place, number in enumerate(numbers))


def _unranked(rank: int, size: int) -> list[int]:
    """Return the sorted list of ``size`` numbers for which `_ranked` returns ``rank``."""
    found = []
    for place in reversed(range(size)):
        low, high = 0, 1
        while math.comb(high + place, place + 1) <= rank:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if math.comb(middle + place, place + 1) <= rank else (low, middle)
        rank -= math.comb(low + place, place + 1)
        found.append(low)
    return found[::-1]
