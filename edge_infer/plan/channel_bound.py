"""The bound of the result channel: the maximum information that messages of a pipeline can carry, in bytes per second.

The messages are results, states and events. The bound assumes that an attacker controls the engine. The calculation
counts all combinations of messages and points in time that the publisher would let pass
(`edge_infer.publisher.canonical` and its neighbours). The logarithm of that number is the information. Where the size
of messages in bytes is the limit, a generating function counts them: if ``z`` is the sum over all messages of ``2**-(s
* bytes)``, then at most ``z * 2**(s
* limit)`` messages have at most ``limit`` bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from edge_infer.contract.codec import ABSENT, dumps
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, MAX_POINTS, ChannelBound, Result, State
from edge_infer.contract.precision import MAX_MILLISECONDS, PRECISIONS, TIME_STEPS, Detail
from edge_infer.plan.channel_rates import RESTED_AFTER, channel_rates, moment_bits
from edge_infer.plan.device_limits import HEALTH_EVERY, announcement_bound, health_bound
from edge_infer.plan.outcome_limits import MAX_BEFORE, MAX_OBJECTS, has_shares, most_items, state_rows, tracked_above
from edge_infer.plan.records import PipelinePlan, Plan

KNOWN_IDS: Final = 2305
"""Number of ids that an object may have: ids around the newest, recently published ids, and ids of open events."""
_KNOWN_SIZES: Final = Counter(len(f",{number}") for number in range(KNOWN_IDS))
"""Number of these ids by the bytes that they take in a list."""
KNOWN_SEQS: Final = 2049
KNOWN_CROSSINGS: Final = 2048
REASONS: Final = 10
PICTURE_BYTES: Final = 7_000
"""Bytes of a small JPEG picture of 320x240 pixels."""

Sizes: TypeAlias = Counter[int]
"""Number of values by the size of their JSON in bytes."""


@dataclass(frozen=True, slots=True)
class PipelineBound:
    """Bytes per second by kind of message; None: unlimited.

    ``burst`` is the number of bytes that may leave at once in addition, after a quiet time.
    """

    results: float | None
    states: float | None
    events: float
    burst: float = 0.0

    @property
    def total(self) -> float | None:
        """The sum of all kinds; None if one of them is unlimited."""
        if self.results is None or self.states is None:
            return None
        return self.results + self.states + self.events


def channel_bound(plan: Plan) -> dict[str, PipelineBound]:
    """Return the bound of each pipeline."""
    return {pipeline.name: _pipeline(plan, pipeline) for pipeline in plan.pipelines}


def device_bound(plan: Plan) -> ChannelBound:
    """Return the bound of all pipelines together, including the numbers in health and the announced topics."""
    bounds, health = channel_bound(plan).values(), health_bound(plan)
    announced, at_once = announcement_bound(plan)
    totals = [*(bound.total for bound in bounds), health, announced]
    known = [total for total in totals if total is not None]
    if len(known) < len(totals):
        return ChannelBound(None)
    rate = math.ceil(sum(known) * 100) / 100
    burst = math.ceil(sum(bound.burst for bound in bounds) + health * HEALTH_EVERY + at_once)
    return ChannelBound(rate, int(max(0.0, PICTURE_BYTES - burst) / rate) if rate else ABSENT, burst)


def _pipeline(plan: Plan, pipeline: PipelinePlan) -> PipelineBound:
    rates, step = channel_rates(plan, pipeline), TIME_STEPS[pipeline.detail]
    bits = (
        lambda: _result_bits(plan, pipeline),
        lambda: _state_bits(plan, pipeline),
        lambda: _event_bits(plan, pipeline, step),
    )
    parts, burst = [], 0.0
    for rate, most, each in zip((rates.results, rates.states, rates.events), rates.bursts, bits, strict=True):
        lasting = rate and rate + most / RESTED_AFTER
        parts.append(_bytes(lasting, each, step))
        burst += _BURSTS * most * (parts[-1] or 0.0) / lasting if lasting else 0.0
    return PipelineBound(parts[0], parts[1], parts[2] or 0.0, burst)


_BURSTS: Final = 2
"""Number of bursts that may follow each other: the second one comes from a new engine."""


_CLOCKS: Final = 2
"""Number of points in time that an engine chooses for a message: when it captures, and when it sends."""


def _bytes(rate: float | None, bits: Callable[[], float], step: float) -> float | None:
    if not rate:
        return rate
    return (rate * bits() + _CLOCKS * moment_bits(rate, step)) / 8


# Numbers by the size of their JSON.


@cache
def _places(detail: Detail) -> Sizes:
    precision = PRECISIONS[detail]
    return Counter(len(dumps(precision.place(step / precision.steps))) for step in range(precision.steps + 1))


def _scores(detail: Detail, least: float) -> Sizes:
    decimals = PRECISIONS[detail].decimals
    low, scale = round(max(0.0, min(1.0, least)), decimals), 10**decimals
    return Counter(len(dumps(step / scale)) for step in range(round(low * scale), scale + 1))


def _count_digits(most: float, digits: int, decimals: int) -> int:
    """Count the numbers from 0 to ``most`` with at most this many significant digits and decimals."""
    fine = int(10**digits)  # all numbers within both limits
    return fine + math.ceil(9 * fine / 10 * max(0.0, math.log10(most) - digits + decimals)) + 1


def _log(sizes: Sizes, s: float) -> float:
    """Return the logarithm of the generating function of numbers or texts at ``s``."""
    return _log_sum(math.log2(count) - s * size for size, count in sizes.items())


def _texts(texts: Iterable[str]) -> Sizes:
    return Counter(len(dumps(text)) for text in set(texts))


# Results.


def _result_bits(plan: Plan, pipeline: PipelinePlan) -> float:
    detail, task = pipeline.detail, pipeline.model.task
    decimals = PRECISIONS[detail].decimals
    bits = math.log2(_count_digits(MAX_MILLISECONDS, decimals, 1) + 1) + (1.0 if pipeline.motion else 0.0)
    bits += _parent_bits(plan, pipeline)
    if task == "anomaly":
        return bits + _anomaly_bits(detail)
    if task == "regression":
        return bits + _values_bits(pipeline)
    room, most = pipeline.max_payload - _head(pipeline), most_items(pipeline)
    item = _items(plan, pipeline)

    def log_sum(s: float) -> float:
        one = item(s)
        powers = [2.0 ** (item(s * power) - power * one) for power in range(1, _FEW + 1)]
        sums = _multisets(powers, min(most, room // _LEAST_ITEM))
        return _log_sum(size * one + math.log2(number * (most - size + 1)) for size, number in enumerate(sums))

    return bits + _least_over_sizes(log_sum, room)


_FEW: Final = 6
"""Maximum number of equal items in one result that are considered; more are too rare to matter."""
_LEAST_ITEM: Final = 20
"""Minimum bytes of an item in a list."""


def _multisets(powers: list[float], most: int) -> list[float]:
    """Return the sums over all multisets of 0, 1, … items, from the sums of the powers of one item (Newton)."""
    sums = [1.0]
    for size in range(1, most + 1):
        sums.append(sum(powers[index] * sums[size - 1 - index] for index in range(min(size, _FEW))) / size)
    return [number for number in sums if number > 0.0]


def _log_sum(logs: Iterable[float]) -> float:
    """Return the logarithm of a sum of terms given by their logarithms."""
    found = list(logs)
    largest = max(found)
    return largest + math.log2(sum(2.0 ** (each - largest) for each in found))


def _least_over_sizes(log_sum: Callable[[float], float], room: int) -> float:
    """Return the minimum over ``s`` of at least 0 of ``s * room + log_sum(s)``, which is convex."""
    low, high = 0.0, 8.0
    best = log_sum(0.0)
    for _ in range(40):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        left, right = first * room + log_sum(first), second * room + log_sum(second)
        best = min(best, left, right)
        low, high = (low, second) if left < right else (first, high)
    return best


def _head(pipeline: PipelinePlan) -> int:
    """Return the minimum bytes of a result without its items."""
    model = pipeline.model
    empty = Result(1, _TS, "0" * 6, 1, model.title, model.sha256[:8], "detection", objects=())
    return len(dumps(empty)) - _HEAD_MORE


_TS: Final = "2026-01-01T00:00:00.000Z"
_HEAD_MORE: Final = 16
"""Maximum bytes by which an empty message built here is larger than a message without its optional parts."""


def _items(plan: Plan, pipeline: PipelinePlan) -> Callable[[float], float]:
    """Return a function of ``s``: the logarithm of the generating function of one item in a result's list."""
    detail, labels = pipeline.detail, _texts(pipeline.labels or pipeline.model.labels)
    scores, places, task = _scores(detail, pipeline.floor), _places(detail), pipeline.model.task
    if task == "classification":
        return lambda s: -s * len('{"label":,"score":},') + _log(labels, s) + _log(scores, s)
    if task == "segmentation":
        return lambda s: -s * len('{"label":,"share":},') + _log(labels, s) + _log(places, s)
    if task == "pose":
        any_score = _scores(detail, 0.0)

        def pose(s: float) -> float:
            point = -s * len("[,,],") + 2 * _log(places, s) + _log(any_score, s)
            return (
                -s * len('{"score":,"points":[]},')
                + _log(scores, s)
                + _log_sum(n * point for n in range(MAX_POINTS + 1))
            )

        return pose
    number = KNOWN_IDS if pipeline.track else 0
    parent = KNOWN_IDS if pipeline.crops and tracked_above(plan, pipeline) else 0
    share = places if has_shares(pipeline) else Counter[int]()

    def item(s: float) -> float:
        pair = _log_sum((2 * _log(places, s), _log(places, 2 * s))) - 1  # lower coordinate first
        found = -s * len('{"label":,"score":,"box":[,,,]},') + _log(labels, s) + _log(scores, s) + 2 * pair
        found += math.log2(1 + number * 2.0 ** (-s * len(',"id":1')))
        found += math.log2(1 + parent * 2.0 ** (-s * len(',"parent":1')))
        return found + (math.log2(1 + 2.0 ** (_log(share, s) - s * len(',"share":'))) if share else 0.0)

    return item


def _box_bits(detail: Detail) -> float:
    steps = PRECISIONS[detail].steps
    return 2 * math.log2((steps + 1) * (steps + 2) / 2)


def _score_bits(detail: Detail, least: float) -> float:
    return math.log2(_scores(detail, least).total())


def _parent_bits(plan: Plan, pipeline: PipelinePlan) -> float:
    if not pipeline.crops:
        return 0.0
    labels = {label for above in plan.parents(pipeline) for label in above.model.labels}
    known = KNOWN_IDS + 1 if tracked_above(plan, pipeline) else 1
    pipelines = len(plan.pipelines)
    whole = _box_bits(pipeline.detail) + _score_bits(pipeline.detail, 0.0)
    return whole + math.log2(max(1, len(labels)) * known * (KNOWN_SEQS + 1) * pipelines + 1)


def _anomaly_bits(detail: Detail) -> float:
    digits = 2 * PRECISIONS[detail].decimals
    return math.log2(_count_digits(1e9, digits, 3) * 2)


def _values_bits(pipeline: PipelinePlan) -> float:
    bits = 0.0
    for value in pipeline.model.values:
        if value.min is None or value.max is None:
            bits += math.log2(2.0**64 + 2)
        else:
            bits += math.log2((value.max - value.min) * 10 ** value.decimals() + 4)  # null, absent, and both limits
    return bits


# States.


def _state_bits(plan: Plan, pipeline: PipelinePlan) -> float:
    del plan
    labels, key = len(set(pipeline.labels or pipeline.model.labels)), pipeline.state_key
    if pipeline.crops:
        return MAX_MESSAGE_BYTES * 8.0  # only the size of the message limits the answers
    if key == "class_":
        known = math.log2(labels + 1)
    elif key == "anomaly":
        known = _anomaly_bits(pipeline.detail)
    elif key == "values":
        known = _values_bits(pipeline)
    else:
        known = _count_bits(pipeline, labels)
    return _log_sum([known, math.log2(REASONS + 1)]) + math.log2(1 + _same(pipeline.detail))


def _count_bits(pipeline: PipelinePlan, labels: int) -> float:
    """Return the bits of a state's counts (also of zones and lines), and of its ids of objects."""
    most, rows = most_items(pipeline), state_rows(pipeline)
    if not pipeline.track:
        return math.log2(math.comb(labels + most, most) * (rows + 1))
    lines = len(pipeline.lines) * 2 * math.log2(KNOWN_CROSSINGS + 1)
    model = pipeline.model
    empty = State(1, _TS, "0" * 6, model.title, model.sha256[:8], _TS, counts={})
    room = MAX_MESSAGE_BYTES - len(dumps(empty)) + _HEAD_MORE
    counts = Counter(len(str(count)) for count in range(MAX_OBJECTS + 1))
    known = _texts(pipeline.labels or model.labels)

    def log_sum(s: float) -> float:
        each = _log(counts, s) - 2 * s
        row = sum(number * math.log2(1 + 2.0 ** (each - s * size)) for size, number in known.items())
        listed = sum(number * math.log2(1 + labels * 2.0 ** (-s * size)) for size, number in _KNOWN_SIZES.items())
        return row * (1 + len(pipeline.zones)) + listed

    left_out = len(pipeline.zones) + 1  # for each zone and for the list of ids: whether the state contains it
    return _least_over_sizes(log_sum, room) + lines + left_out + math.log2(rows + 1)


def _same(detail: Detail) -> int:
    """Return the number of start times that count as equal."""
    return 1 if detail == "coarse" else 5


# Events.


def _event_bits(plan: Plan, pipeline: PipelinePlan, step: float) -> float:
    """Return the bits of an event for each time that it counts (`ChannelRates.events`).

    A begin event counts twice and its end event not at all; an end event without a known begin event counts twice. So
    ``points * x + pairs * x**2`` is 1, where ``x`` is the inverse of the number of choices for each time.
    """
    detail, labels = pipeline.detail, len(set(pipeline.labels or pipeline.model.labels)) or 1
    ids = KNOWN_IDS + 1 if pipeline.track or tracked_above(plan, pipeline) else 1
    if pipeline.model.task == "anomaly":
        labels, scores = 1, _count_digits(1e9, 2 * PRECISIONS[detail].decimals, 3)
    else:
        scores = _scores(detail, pipeline.floor).total()
    boxes = 2.0 ** _box_bits(detail) + 1 if pipeline.track else 1.0
    each, before = labels * ids * (scores + 1.0) * boxes, MAX_BEFORE / step + 2
    zones, lines = len(pipeline.zones), len(pipeline.lines)
    each = each if pipeline.events else 0.0
    begins = each * (1 + zones) * before
    ends = each * (1 + zones) * (REASONS + 1)
    points = each * (zones + 2 * lines) * before
    orders = _ORDERS if labels * ids * (1 + zones) > 1 else 1  # each event can only end before the next one begins
    pairs = begins * ends * (_same(detail) + 1) * orders + ends * before
    if pipeline.drift:
        pairs += _DRIFTS * before * (REASONS + 1) * (_same(detail) + 1) * _ORDERS
    return math.log2((points + math.sqrt(points * points + 4 * pairs)) / 2)


_DRIFTS: Final = 14 * 201**2
"""Number of combinations of a kind of drift with a shift."""
_ORDERS: Final = 4
"""Number of orders of a begin event and its end event among other events: a choice of two for each."""
