"""Rate limits of an engine's messages: only as many of each kind leave the device as the configuration allows.

The kinds are the results, states and events of a pipeline. The limit applies to capture times, not to the time of
sending. So a backlog of an hour contains an hour of captures and is admitted at once. An engine can claim neither
captures of the future nor the same capture time twice. A number that the engine skips costs as much as a message. A
restarted publisher may use the part of each limit that its predecessor did not use. Messages that were admitted but not
acknowledged may be sent again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most
from edge_infer.contract.messages import Boot, Event, EventType, Name
from edge_infer.ipc.messages import NumberedKind
from edge_infer.plan.channel_rates import KINDS, ChannelRates, Kind, channel_rates
from edge_infer.plan.records import Plan
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.outbox.entry import MessageSeries

log = logging.getLogger(__name__)

MAX_UNACKNOWLEDGED: Final = 512
"""Maximum number of series whose unacknowledged numbers are passed to a restarted publisher; the newest ones are
kept."""
MAX_LEVELS: Final = 4096
"""Maximum number of rate levels that are passed to a restarted publisher, including those of removed pipelines."""
MAX_ON_THE_WAY: Final = 10_000
"""Maximum number of messages of an earlier plan that are still admitted, for a pipeline and kind without a limit."""
COSTS: Final = {"appear": 2, "enter": 2, "start": 2, "drift": 2, "leave": 0, "exit": 0, "end": 0, "drift_end": 0}
"""Cost of an event in tokens: a begin event pays for its end event, as in the engine. Other events cost 1; an end event
without a known begin event costs 2."""


@dataclass(slots=True)
class _CaptureBucket:
    """A token bucket over capture times. Without a ``rate`` it never runs out.

    A new plan adds no tokens, because an engine can cause new plans. Captures before the new plan, which may still be
    in a backlog, fill the bucket at the rate of their plan.
    """

    rate: float | None
    burst: float
    left: float
    at: float
    granted: float
    """The largest burst that it has had. Only a larger one adds tokens: the difference."""
    ends: float = math.inf
    """Capture time up to which it fills. It is finite while the plan has no such messages."""
    rested: bool = False
    """Whether an engine with full budgets has started while the plan had no such messages."""
    _following: tuple[float, float, float] | None = None
    """A capture time, and the rate and burst from then on."""

    @classmethod
    def full(cls, rate: float | None, burst: float, at: float) -> _CaptureBucket:
        """Return the bucket of a pipeline that no earlier plan had."""
        return cls(rate, burst, burst, at, 0.0 if rate is None else burst)

    @property
    def refill(self) -> float:
        """Tokens per second in the current plan, if it has a limit."""
        return 0.0 if self.ends < math.inf else self.rate or 0.0

    def change(self, rate: float | None, burst: float, now: float) -> None:
        """Set the rate and burst of a plan that came at ``now``.

        The time in which the plans had no such messages counts as well, as in the engine: at the rate before or, if the
        bucket has had none, at the new one.
        """
        if rate is None:
            self.rate, self.burst, self.left, self.granted = None, math.inf, math.inf, 0.0
            self.ends, self.rested, self._following = math.inf, False, None
            return
        if rate == 0.0:
            self.end(now)
            return
        if self.rate is None:
            self._limit(now)
        since, self.ends = now if self.rate else self.at, math.inf
        self.left += max(0.0, burst - self.granted)
        self.granted = max(self.granted, burst)
        if self.rested:
            self.left, self.rested = max(self.left, burst), False
        if (rate, burst) != (self._following[1:] if self._following else (self.rate, self.burst)):
            self._settle()
            self._following = since, rate, burst

    def end(self, now: float) -> None:
        """Stop filling: a plan that came at ``now`` has no such messages. What is left stays valid."""
        if self.rate is None:
            self._limit(now)
        self.ends = min(self.ends, now)

    def fill(self, at: float) -> None:
        """Add the tokens up to the capture time ``at``. A level above ``burst`` is kept but does not grow."""
        if self._following is not None and at >= self._following[0]:
            self._settle()
        self._fill(min(at, self.ends))

    def _fill(self, at: float) -> None:
        if self.rate is not None and at > self.at:
            self.left = max(self.left, min(self.burst, self.left + (at - self.at) * self.rate))
            self.at = at

    def _settle(self) -> None:
        """Go on to the rate that follows."""
        if self._following is not None:
            since, rate, burst = self._following
            self._following = None
            self._fill(since)
            self.rate, self.burst = rate, burst

    def _limit(self, now: float) -> None:
        """End an unlimited plan. Some messages may be on their way, and their captures may have any time."""
        self.rate, self.burst, self.left, self.at = 0.0, 0.0, MAX_ON_THE_WAY, now

    def rest(self) -> None:
        """Fill up for an engine that starts with full budgets."""
        self.rested = self.ends < math.inf
        if not self.rested:
            self.left = max(self.left, self._following[2] if self._following else self.burst)

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

    def due(self) -> float:
        """Return the capture time at which the bucket holds a token again."""
        if self.rate is None or self.left >= 1.0:
            return -math.inf
        return self.at + (1.0 - self.left) / self.refill if self.refill else math.inf


class BucketLevel(Record, frozen=True):
    """The level of a bucket at an uptime."""

    pipeline: Name
    kind: Kind
    left: float
    at: float


class Unacknowledged(Record, frozen=True):
    """The highest acknowledged number of a series, and the highest admitted one."""

    pipeline: Name
    boot: Boot
    kind: NumberedKind
    acked: int
    paid: int


class AdmissionState(Record, frozen=True):
    """State of the rate limits that a restarted publisher needs."""

    levels: Annotated[tuple[BucketLevel, ...], at_most(MAX_LEVELS)] = ()
    unacknowledged: Annotated[tuple[Unacknowledged, ...], at_most(MAX_UNACKNOWLEDGED)] = ()


class RateAdmission:
    """The token buckets of all pipelines. Times are uptimes in seconds."""

    def __init__(self, earlier: AdmissionState | None = None) -> None:
        """Continue from ``earlier``, the state of the previous publisher, if there is one."""
        self._earlier = earlier
        self._buckets: dict[tuple[str, str], _CaptureBucket] = {}
        self._paid: dict[MessageSeries, int] = {}
        self._acked: dict[MessageSeries, int] = {}  # of series with admitted numbers that are not acknowledged yet
        self._again: dict[MessageSeries, tuple[int, int]] = {}  # numbers that may come again: after, up to
        for each in earlier.unacknowledged if earlier else ():
            series = MessageSeries(each.pipeline, each.boot, each.kind)
            self._acked[series], self._paid[series] = each.acked, each.paid
            self._again[series] = each.acked, each.paid
        self._rarely = LogThrottle()

    def state(self) -> AdmissionState:
        """Return the state that a restarted publisher needs."""
        levels = (
            BucketLevel(pipeline, kind, bucket.left, bucket.at)  # type: ignore[arg-type]
            for (pipeline, kind), bucket in self._buckets.items()
            if bucket.rate is not None
        )
        found = (
            Unacknowledged(series.pipeline, series.boot, series.kind, acked, self._paid[series])
            for series, acked in self._acked.items()
        )
        return AdmissionState(tuple(levels), tuple(found))

    def acked(self, series: MessageSeries, seq: int) -> None:
        """Record that the engine will not send the numbers up to ``seq`` again."""
        if series in self._acked:
            self._acked[series] = max(seq, self._acked[series])
            if self._acked[series] >= self._paid[series]:
                del self._acked[series]

    def apply(self, plan: Plan, now: float) -> None:
        """Set the rates of a plan. Levels continue; only a pipeline that no earlier plan had gets a full bucket.

        Tokens that are left of a removed pipeline stay valid, because its messages may still arrive.
        """
        rates = {pipeline.name: channel_rates(plan, pipeline) for pipeline in plan.pipelines}
        if self._earlier is not None:
            self._go_on(self._earlier, rates, now)
            self._earlier = None
            return
        gone = [key for key in self._buckets if key[0] not in rates]
        for key in gone[: max(0, len(gone) - MAX_LEVELS // 2)]:
            del self._buckets[key]
        for key in gone[-MAX_LEVELS // 2 :]:
            self._buckets[key].end(now)
        for name, of in rates.items():
            for kind in KINDS:
                rate, most = getattr(of, kind + "s"), of.burst(kind)
                if (bucket := self._buckets.get((name, kind))) is None:
                    self._buckets[name, kind] = _CaptureBucket.full(rate, most, now)
                else:
                    bucket.change(rate, most, now)

    def _go_on(self, earlier: AdmissionState, rates: Mapping[str, ChannelRates], now: float) -> None:
        """Continue with the levels of the previous publisher. A restart adds no tokens, because an engine can cause it.

        A compromised process may have written any levels, so they are limited to values that a bucket can have.
        """
        levels = {(level.pipeline, level.kind): level for level in earlier.levels}
        gone = [(key, level) for key, level in levels.items() if key[0] not in rates]
        for key, level in gone[: MAX_LEVELS // 2]:
            left, at = _within(level.left, MAX_ON_THE_WAY), min(level.at, now)
            self._buckets[key] = _CaptureBucket(0.0, 0.0, left, at, math.inf, at)  # it had its burst
        for name, of in rates.items():
            for kind in KINDS:
                rate, most = getattr(of, kind + "s"), of.burst(kind)
                bucket = self._buckets[name, kind] = _CaptureBucket.full(rate, most, now)
                known = None if rate is None else levels.get((name, kind))
                if known is not None:
                    bucket.left = _within(known.left, most + MAX_ON_THE_WAY) if rate else 0.0
                    bucket.at = min(known.at, now)

    def engine_rested(self) -> None:
        """Fill the buckets, because an engine starts with full budgets."""
        for bucket in self._buckets.values():
            bucket.rest()

    def admits(self, series: MessageSeries, seq: int, at: float, *, highest: int, cost: int = 1) -> bool:
        """Return whether a message with this sequence number, captured ``at``, is within its rate or may be sent again.

        ``highest`` is the highest sequence number of the series in the outbox.
        """
        if self._may_come_again(series, seq):
            self._again[series] = seq, self._again[series][1]
            return True
        bucket = self._buckets.get((series.pipeline, series.kind))
        if bucket is None:
            return False
        before = self._paid.get(series, highest)
        bucket.fill(at)
        if not bucket.take(cost + max(0, seq - before - 1)):
            self._log_refusal(series, bucket)
            return False
        self._paid[series] = max(seq, before)
        if series not in self._acked:
            self._acked[series] = max(0, seq - 1)
            if len(self._acked) > MAX_UNACKNOWLEDGED:
                del self._acked[next(iter(self._acked))]
        return True

    def affords(self, series: MessageSeries, seq: int, at: float, *, highest: int, cost: int) -> bool:
        """Return whether `admits` would admit a message, without taking tokens."""
        bucket = self._buckets.get((series.pipeline, series.kind))
        if bucket is None or self._may_come_again(series, seq):
            return True
        bucket.fill(at)
        if bucket.holds(cost + max(0, seq - self._paid.get(series, highest) - 1)):
            return True
        self._log_refusal(series, bucket)
        return False

    def _may_come_again(self, series: MessageSeries, seq: int) -> bool:
        """Return whether an earlier publisher admitted this number without acknowledging it.

        Each such number is admitted once more.
        """
        after, last = self._again.get(series, (0, 0))
        return after < seq <= last

    def charge(self, series: MessageSeries) -> None:
        """Charge for a message that was rejected for another reason, because even a rejection carries information."""
        if (bucket := self._buckets.get((series.pipeline, series.kind))) is not None:
            bucket.take(1.0)

    def _log_refusal(self, series: MessageSeries, bucket: _CaptureBucket) -> None:
        if self._rarely.due(series[::2]):
            log.warning(
                "pipeline %s: %s rejected: the engine sends more than the configuration allows (%g a second; logged "
                "once a minute)",
                series.pipeline, series.kind, bucket.refill,
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


def _within(left: float, most: float) -> float:
    return min(max(0.0, left), most)
