"""Admission by rate: at most as many results, states and events of a pipeline leave as its configuration allows.

The rate is that of the captures, not that of the messages: a backlog of an hour is an hour of captures, and is admitted
at once. An engine cannot claim captures of the future, and none twice. A number that it skips costs as much as a
message. A message that was captured before this process started may come again, as the engine keeps it: such messages
count against the size of what it keeps.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.messages import Event, EventType
from edge_infer.plan.channel_rates import KINDS, channel_rates
from edge_infer.plan.records import Plan
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.outbox.entry import MessageSeries

log = logging.getLogger(__name__)

KEPT_BYTES: Final = 2 << 20
"""Bytes of messages captured before this process started that are admitted: what an engine keeps, and its channel."""
MAX_ON_THE_WAY: Final = 10_000
"""Messages of an earlier plan that are admitted, of a pipeline and kind that had no limit."""
COSTS: Final = {"appear": 2, "enter": 2, "start": 2, "drift": 2, "leave": 0, "exit": 0, "end": 0, "drift_end": 0}
"""What an event costs: a begin pays for its end, as in the engine. Others cost 1, and an end without a begin 2."""


@dataclass(slots=True)
class _CaptureBucket:
    """A token bucket over the time of captures. Without a ``rate`` it holds any number."""

    rate: float | None
    burst: float
    left: float
    at: float

    def fill(self, at: float) -> None:
        """Add the tokens up to the capture time ``at``. More than ``burst`` stays, but does not grow."""
        if self.rate is not None and at > self.at:
            self.left = max(self.left, min(self.burst, self.left + (at - self.at) * self.rate))
            self.at = at

    def take(self, tokens: float) -> bool:
        """Take this many tokens, at most a whole burst; return whether they were there."""
        if not self.holds(tokens):
            return False
        if self.rate is not None:
            self.left -= min(tokens, self.burst or tokens)
        return True

    def holds(self, tokens: float) -> bool:
        """Return whether `take` would return True."""
        return self.rate is None or self.left >= min(tokens, self.burst or tokens)

    def rest(self, now: float) -> float:
        """Return what messages that are on their way may still take after the plan has changed."""
        self.fill(now)
        return min(self.left, self.burst, MAX_ON_THE_WAY)

    def due(self) -> float:
        """Return the capture time at which there is a token again."""
        if self.rate is None or self.left >= 1.0:
            return -math.inf
        return self.at + (1.0 - self.left) / self.rate if self.rate else math.inf


class RateAdmission:
    """The buckets of all pipelines. Times are uptimes in seconds."""

    def __init__(self, started: float, *, kept: int = 0) -> None:
        """``started``: when this process did; ``kept``: the bytes that an engine may have kept from before."""
        self._started = started
        self._kept_left = kept
        self._buckets: dict[tuple[str, str], _CaptureBucket] = {}
        self._paid: dict[MessageSeries, int] = {}
        self._rarely = LogThrottle()

    def apply(self, plan: Plan, now: float) -> None:
        """Set the rates of a plan. What the plan before still allows at once stays allowed, as messages of it come."""
        rates = {pipeline.name: channel_rates(plan, pipeline) for pipeline in plan.pipelines}
        before = {key: bucket.rest(now) for key, bucket in self._buckets.items()}
        self._buckets = {key: _CaptureBucket(0.0, 0.0, left, now) for key, left in before.items()}
        for name, of in rates.items():
            for kind in KINDS:
                rate, most = getattr(of, kind + "s"), of.burst(kind)
                self._buckets[name, kind] = _CaptureBucket(rate, most, most + before.get((name, kind), 0.0), now)

    def engine_rested(self) -> None:
        """Fill the buckets: an engine starts with full budgets."""
        for bucket in self._buckets.values():
            bucket.left = max(bucket.left, bucket.burst)

    def admits(self, series: MessageSeries, seq: int, at: float, size: int, *, highest: int, cost: int = 1) -> bool:
        """Return whether a numbered message of ``size`` bytes, captured ``at``, is within its rate.

        ``highest`` is the number of the series before it, as far as it is known from elsewhere.
        """
        if at < self._started and self._kept_left >= size:
            self._kept_left -= size
            self._paid[series] = max(seq, self._paid.get(series, 0))
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
        return True

    def affords(self, series: MessageSeries, seq: int, at: float, *, highest: int, cost: int) -> bool:
        """Return whether `admits` would admit a message, but take nothing."""
        bucket = self._buckets.get((series.pipeline, series.kind))
        if bucket is None or (at < self._started and self._kept_left > 0):
            return True
        bucket.fill(at)
        if bucket.holds(cost + max(0, seq - self._paid.get(series, highest) - 1)):
            return True
        self._log_refusal(series, bucket)
        return False

    def charge(self, series: MessageSeries) -> None:
        """Count a message that was rejected for another reason: what was learned from it is not free."""
        if (bucket := self._buckets.get((series.pipeline, series.kind))) is not None:
            bucket.take(1.0)

    def _log_refusal(self, series: MessageSeries, bucket: _CaptureBucket) -> None:
        if self._rarely.due(series[::2]):
            log.warning(
                "%s of %s rejected: more than its configuration allows (%g a second; logged once a minute)",
                series.kind, series.pipeline, bucket.rate,
            )  # fmt: skip

    def wait(self, pipeline: str, now: float) -> float:
        """Return the seconds until a state may be set; 0 if now, which is then counted."""
        bucket = self._buckets.get((pipeline, "state"))
        if bucket is None:
            return 0.0
        bucket.fill(now)
        return 0.0 if bucket.take(1.0) else max(0.001, bucket.due() - now)


def cost(event: Event, *, begun: bool) -> int:
    """Return what an event costs; ``begun``: it ends an event that is known to be open."""
    kind: EventType = event.type
    found = COSTS.get(kind, 1)
    return found if found or begun else 2
