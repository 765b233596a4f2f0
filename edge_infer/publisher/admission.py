"""Rate limits of an engine's messages: only as many of each kind leave the device as the configuration allows.

The kinds are the results, states and events of a pipeline. The limit applies to capture times, not to the time of
sending. So a backlog of an hour contains an hour of captures and is admitted at once. An engine can claim neither
captures of the future nor the same capture time twice. A number that the engine skips costs as much as a message. A
restarted publisher may use the part of each limit that its predecessor did not use. Messages that were admitted but are
neither at the broker nor on the disk may be sent again.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Final

from edge_infer.contract.codec import Record, ShortText, at_most, dumps
from edge_infer.contract.messages import Boot, Event, EventType, Name
from edge_infer.ipc.messages import NumberedKind
from edge_infer.plan.channel_rates import KINDS, Kind, channel_rates
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.plan.switch_time import switch_seconds
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.outbox.entry import MessageSeries

log = logging.getLogger(__name__)

MAX_UNACKNOWLEDGED: Final = 512
"""Maximum number of series whose unacknowledged numbers are passed to a restarted publisher; the newest ones are
kept."""
MAX_LEVELS: Final = 4096
"""Maximum number of rate levels that are passed to a restarted publisher, including those of removed pipelines."""
MAX_ON_THE_WAY: Final = 10_000
"""Maximum number of messages that a pipeline and kind may still send of an earlier plan while the engine switches to
the new one, beside the new plan's burst. An engine that keeps 1 MiB of short messages, and adds to them until it has
switched, stays below it."""
LEAST_SKIP: Final = 8
"""Minimum cost of a gap in the sequence numbers that is at least as long."""
MAX_COST: Final = 2
"""Maximum tokens that a message costs."""
COSTS: Final = {"appear": 2, "enter": 2, "start": 2, "drift": 2, "leave": 0, "exit": 0, "end": 0, "drift_end": 0}
"""Cost of an event in tokens: a begin event pays for its end event, as in the engine. Other events cost 1; an end event
without a known begin event costs 2."""


@dataclass(slots=True)
class _CaptureBucket:
    """A token bucket over capture times. Without a ``rate`` it never runs out.

    ``switched`` are the rate and burst from when the engine has switched to the current plan.
    """

    rate: float | None
    burst: float
    left: float
    at: float
    switched: tuple[float | None, float] | None = None

    def fill(self, at: float) -> None:
        """Add the tokens up to the capture time ``at``. A level above ``burst`` is kept but does not grow."""
        if self.rate is not None and at > self.at:
            self.left = max(self.left, min(self.burst, self.left + (at - self.at) * self.rate))
            self.at = at

    def refill(self, now: float) -> None:
        """Fill the bucket."""
        self.fill(now)
        self.left = max(self.left, self.burst)

    def take(self, tokens: float) -> bool:
        """Take ``tokens``, at most a whole burst. Return whether the bucket held them."""
        if not self.holds(tokens):
            return False
        if self.rate is not None:
            self.left -= min(tokens, self.burst or tokens)
        return True

    def holds(self, tokens: float) -> bool:
        """Return whether `take` would return True."""
        return self.rate is None or self.left >= min(tokens, self.burst or tokens)

    def skip(self, numbers: int) -> float:
        """Return the cost of skipped numbers: as much as messages, and at most half a bucket.

        The other half is for the jitter of an engine that had to drop many messages. `LEAST_SKIP` tokens are worth more
        than the 53 bits of a number.
        """
        return min(max(0, numbers), max(LEAST_SKIP, self.burst / 2))

    def rest(self, now: float) -> float:
        """Return the tokens for messages of the current plan that are still on their way when the plan changes."""
        self.fill(now)
        return min(self.left, MAX_ON_THE_WAY)

    def limit(self, rate: float | None, burst: float, earlier: Iterable[tuple[float | None, float]]) -> None:
        """Set the rate and burst. Until the engine has switched, those of ``earlier`` plans apply if they are higher.

        A plan without a limit raises nothing: `rest` allows for its messages.
        """
        higher = [each for each in earlier if each[0] is not None and rate is not None and each[0] > rate]
        self.switched = (rate, burst) if higher else None
        self.rate, most = max(higher, default=(rate, burst))
        self.burst = max(most, burst)

    def switch(self) -> None:
        """End the rate and the tokens of earlier plans; the tokens are those above ``burst``."""
        if self.switched is not None:
            (self.rate, self.burst), self.switched = self.switched, None
        self.left = min(self.left, self.burst)

    def due(self) -> float:
        """Return the capture time at which the bucket holds a token again."""
        if self.rate is None or self.left >= 1.0:
            return -math.inf
        return self.at + (1.0 - self.left) / self.rate if self.rate else math.inf


class BucketLevel(Record, frozen=True):
    """The tokens that were ``left`` in a bucket, and the capture time up to which it was filled.

    ``part`` is the digest of the part of the plan that the pipeline follows.
    """

    pipeline: Name
    kind: Kind
    left: float
    at: float
    part: ShortText = ""


class Unacknowledged(Record, frozen=True):
    """The highest safe number of a series, the highest admitted one, how many were admitted in between, and their cost.

    ``tokens`` is None in the note of an older version.
    """

    pipeline: Name
    boot: Boot
    kind: NumberedKind
    acked: int
    paid: int
    count: int = 0
    tokens: int | None = None


@dataclass(slots=True)
class _Admitted:
    """Admitted messages of a series whose numbers are above ``after``: how many, and how many tokens they cost.

    ``costs`` has the number and the cost of each event of this process. A result always costs 1.
    """

    after: int
    count: int = 0
    tokens: int = 0
    costs: deque[tuple[int, int]] = field(default_factory=deque)

    def add(self, series: MessageSeries, seq: int, cost: int) -> None:
        self.count += 1
        self.tokens += cost
        if series.kind == "event":
            self.costs.append((seq, cost))

    def take(self, cost: int) -> None:
        self.count -= 1
        self.tokens -= cost

    def acked(self, seq: int, last: int) -> None:
        """Remove the messages up to ``seq``; ``last`` is the highest admitted number."""
        self.after = max(seq, self.after)
        while self.costs and self.costs[0][0] <= self.after:
            self.take(self.costs.popleft()[1])
        self.count = max(0, min(self.count, last - self.after))
        self.tokens = max(0, min(self.tokens, MAX_COST * self.count))


class AdmissionState(Record, frozen=True):
    """State of the rate limits that a restarted publisher needs.

    ``resting`` are the pipelines that did not run. ``rested`` is the last boot that was given full limits.
    """

    levels: Annotated[tuple[BucketLevel, ...], at_most(MAX_LEVELS)] = ()
    unacknowledged: Annotated[tuple[Unacknowledged, ...], at_most(MAX_UNACKNOWLEDGED)] = ()
    resting: Annotated[tuple[Name, ...], at_most(MAX_LEVELS)] = ()
    rested: ShortText = ""


class RateAdmission:
    """The token buckets of all pipelines. Times are uptimes in seconds."""

    def __init__(self, earlier: AdmissionState | None = None) -> None:
        """Continue from ``earlier``, the state of the previous publisher, if there is one."""
        self._earlier = earlier
        self._parts = {level.pipeline: level.part for level in earlier.levels} if earlier else {}  # of the current plan
        self._names = set(self._parts)
        self._resting = frozenset(earlier.resting if earlier else ())
        self._rested = earlier.rested if earlier else ""
        self._plan: Plan | None = None
        self._replaced = -math.inf  # when the plan before that of a new publisher was replaced
        self._buckets: dict[tuple[str, str], _CaptureBucket] = {}
        self._switched_by: float | None = None  # while messages of an earlier plan may be on their way: until when
        self._paid: dict[MessageSeries, int] = {}  # numbers up to these are paid; higher ones cost a gap
        self._unsafe: dict[MessageSeries, _Admitted] = {}  # admitted messages that are not safe yet
        self._again: dict[MessageSeries, _Admitted] = {}  # those of the publisher before, which may come again
        self._last: dict[MessageSeries, int] = {}  # the highest number that the publisher before admitted
        for each in earlier.unacknowledged if earlier else ():
            series = MessageSeries(each.pipeline, each.boot, each.kind)
            self._paid[series] = self._last[series] = each.paid
            tokens = each.count if each.tokens is None else each.tokens
            self._unsafe[series] = _Admitted(each.acked, each.count, tokens)
            self._again[series] = _Admitted(each.acked, each.count, tokens)
        self._rarely = LogThrottle()

    def know(self, plan: Plan, replaced: float = -math.inf) -> None:
        """Record the newest plan that an engine may have used until ``replaced``, and its pipelines for `knows`."""
        self._names.update(pipeline.name for pipeline in plan.pipelines)
        self._plan, self._replaced = plan, replaced

    def knows(self, pipeline: str) -> bool:
        """Return whether there is or was such a pipeline."""
        return pipeline in self._names

    def state(self) -> AdmissionState:
        """Return the state that a restarted publisher needs."""
        levels = (
            BucketLevel(name, kind, min(bucket.left, MAX_ON_THE_WAY), bucket.at, self._parts.get(name, ""))  # type: ignore[arg-type]
            for (name, kind), bucket in self._buckets.items()
        )
        found = (
            Unacknowledged(*series, each.after, self._paid[series], each.count, each.tokens)
            for series, each in self._unsafe.items()
        )
        return AdmissionState(
            tuple(islice(levels, MAX_LEVELS)), tuple(found), tuple(sorted(self._resting)), self._rested
        )

    def acked(self, series: MessageSeries, seq: int) -> None:
        """Record that the numbers up to ``seq`` are safe: no later publisher needs their messages again."""
        if (unsafe := self._unsafe.get(series)) is not None:
            unsafe.acked(seq, self._paid[series])
            if unsafe.after >= self._paid[series]:
                del self._unsafe[series]

    def apply(self, plan: Plan, now: float, resting: Collection[str] = ()) -> None:
        """Set the rates of a plan; the pipelines in ``resting`` do not run now.

        A pipeline that the plan does not change keeps its tokens, because an engine can cause such plans. If it was
        resting, its bucket is filled, as the engine's budgets are. A changed pipeline starts with a full bucket. Until
        the engine has switched, the previous plan's higher rate applies, and tokens that are left from it stay valid,
        because messages of that plan may still arrive. For a new publisher the time of the tokens begins again, because
        those messages waited for it.
        """
        previous, replaced = self._plan or plan, self._replaced
        self.know(plan)
        restored = self._earlier is not None
        if self._earlier is not None:
            self._buckets = _restored(self._earlier, now)
            self._earlier = None
        parts = {pipeline.name: _part(plan, pipeline) for pipeline in plan.pipelines}
        unchanged = {name for name, part in parts.items() if self._parts.get(name) == part}
        returned = self._resting - set(resting)
        switch = switch_seconds(previous, plan)
        if restored or self._parts != parts:
            self._switched_by = max(self._switched_by or 0.0, now + switch)
        switching = now < replaced + switch if restored else self._switched_by is not None
        limits, earlier = _limits(plan), _limits(previous) if switching else {}
        self._parts, self._resting = parts, frozenset(resting)
        before, self._buckets = self._buckets, {}
        for key in dict.fromkeys((*limits, *before, *earlier)):
            name = key[0]
            rate, most = limits.get(key, (0.0, 0.0))
            bucket = before.get(key) or _CaptureBucket(0.0, 0.0, 0.0, now)
            used = (bucket.rate, bucket.burst) if switching else (0.0, 0.0)
            if name not in unchanged:  # messages that waited for a new publisher were captured since the bucket's time
                since = bucket.at if restored else now
                bucket = _CaptureBucket(0.0, 0.0, most + bucket.rest(now), since)
            bucket.limit(rate, most, (used, earlier.get(key, (0.0, 0.0))))
            if name in unchanged and name in returned:
                bucket.refill(now)
            self._buckets[key] = bucket

    def settle(self, now: float) -> None:
        """Drop the tokens of earlier plans once the engine has switched."""
        if self._switched_by is not None and now >= self._switched_by:
            self._switched_by = None
            for bucket in self._buckets.values():
                bucket.switch()

    def engine_rested(self, boot: str) -> bool:
        """Fill the buckets, because an engine starts with full budgets. Return False if they were filled for it before.

        A publisher that starts later is told again of the engine that runs.
        """
        if boot == self._rested:
            return False
        self._rested = boot
        for bucket in self._buckets.values():
            bucket.left = max(bucket.left, bucket.burst)
        return True

    def admits(self, series: MessageSeries, seq: int, at: float, *, highest: int, cost: int = 1) -> bool:
        """Return whether a message with this sequence number, captured ``at``, is within its rate or may be sent again.

        ``highest`` is the highest sequence number of the series in the outbox.
        """
        if self._may_come_again(series, seq, cost):
            self._again[series].after = seq
            self._again[series].take(cost)
            return True
        bucket = self._buckets.get((series.pipeline, series.kind))
        if bucket is None:
            return False
        before = self._paid.setdefault(series, highest)  # also if it is refused: the next one pays for the gap as well
        bucket.fill(at)
        if not bucket.take(cost + bucket.skip(seq - before - 1)):
            self._log_refusal(series, bucket)
            return False
        self._paid[series] = max(seq, before)
        if series not in self._unsafe:
            self._unsafe[series] = _Admitted(max(0, seq - 1))
            if len(self._unsafe) > MAX_UNACKNOWLEDGED:
                del self._unsafe[next(iter(self._unsafe))]
        self._unsafe[series].add(series, seq, cost)
        return True

    def affords(self, series: MessageSeries, seq: int, at: float, *, highest: int, cost: int) -> bool:
        """Return whether `admits` would admit a message, without taking tokens."""
        bucket = self._buckets.get((series.pipeline, series.kind))
        if bucket is None or self._may_come_again(series, seq, cost):
            return True
        bucket.fill(at)
        if bucket.holds(cost + bucket.skip(seq - self._paid.setdefault(series, highest) - 1)):
            return True
        self._log_refusal(series, bucket)
        return False

    def _may_come_again(self, series: MessageSeries, seq: int, cost: int) -> bool:
        """Return whether an earlier publisher admitted this number, and died before its message was safe.

        Each such number is admitted once more. The engine may have skipped others, which were never admitted. All of
        them cost no more than the first time: otherwise two end events could come again as begin events, whose ends
        cost nothing, so that each new publisher would double the events.
        """
        again = self._again.get(series)
        if again is None or again.count <= 0 or again.tokens < cost:
            return False
        return again.after < seq <= self._last[series]

    def charge(self, series: MessageSeries, seq: int, *, highest: int) -> None:
        """Charge for a message that was rejected for another reason, because even a rejection carries information."""
        bucket, before = self._buckets.get((series.pipeline, series.kind)), self._paid.setdefault(series, highest)
        if bucket is not None and bucket.take(1 + bucket.skip(seq - before - 1)):
            self._paid[series] = max(seq, before)

    def _log_refusal(self, series: MessageSeries, bucket: _CaptureBucket) -> None:
        if self._rarely.due(series[::2]):
            log.warning(
                "pipeline %s: %s rejected: the engine sends more than the configuration allows (%g a second; logged "
                "once a minute)",
                series.pipeline, series.kind, bucket.rate,
            )  # fmt: skip

    def wait(self, pipeline: str, now: float) -> float:
        """Return the seconds until a state may be set. If it is 0, a token for the state is taken."""
        bucket = self._buckets.get((pipeline, "state"))
        if bucket is None:
            return 0.0
        bucket.fill(now)
        return 0.0 if bucket.take(1.0) else max(0.001, bucket.due() - now)


def cost(event: Event, *, begun: bool) -> int:
    """Return the cost of an event; ``begun``: the event ends another one that is known to be open."""
    kind: EventType = event.type
    found = COSTS.get(kind, 1)
    return found if found or begun else 2


def _limits(plan: Plan) -> dict[tuple[str, str], tuple[float | None, float]]:
    """Return the rate and burst of each kind of each pipeline."""
    limits = dict[tuple[str, str], tuple[float | None, float]]()
    for pipeline in plan.pipelines:
        rates = channel_rates(plan, pipeline)
        limits.update({(pipeline.name, kind): (getattr(rates, kind + "s"), rates.burst(kind)) for kind in KINDS})
    return limits


def _restored(earlier: AdmissionState, now: float) -> dict[tuple[str, str], _CaptureBucket]:
    """Return the buckets of the previous publisher, without rates. A restart adds no tokens: an engine can cause it.

    A compromised process may have written any levels, so they are limited to values that a bucket can have.
    """
    return {
        (level.pipeline, level.kind): _CaptureBucket(
            0.0, MAX_ON_THE_WAY, min(max(0.0, level.left), MAX_ON_THE_WAY), min(level.at, now)
        )
        for level in earlier.levels
    }


def _part(plan: Plan, pipeline: PipelinePlan) -> str:
    """Return a digest of all that makes the engine start a pipeline anew, or that changes its rates."""
    source = next((each for each in plan.sources if each.name == pipeline.source), None)
    text = dumps([pipeline, source, repr(channel_rates(plan, pipeline))])
    return hashlib.sha256(text).hexdigest()[:16]
