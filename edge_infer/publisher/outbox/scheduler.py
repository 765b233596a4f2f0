"""The outbound order: retained values first, then events, then results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass

from edge_infer.contract.topics import STATUS, Place
from edge_infer.plan.records import MAX_RATE
from edge_infer.platform.rate_limits import ByteBucket, LogThrottle
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.mqtt.inflight_window import NO_LIMIT
from edge_infer.publisher.mqtt.reconnect import Backoff
from edge_infer.publisher.outbox.entry import Entry
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.retained import Retained

log = logging.getLogger(__name__)


def size_of(place: Place, payload: bytes) -> int:
    """Return the bytes of a payload and of its topic below the device's topic."""
    return len(payload) + len(place.topic(""))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send; ``entry`` is None for a retained message."""

    place: Place
    payload: bytes
    entry: Entry | None

    @property
    def size(self) -> int:
        """The bytes of the payload and of the topic below the device's topic."""
        return size_of(self.place, self.payload)


class _AllBut:
    """A container of every place but one."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __contains__(self, place: object) -> bool:
        return place != self._place


@dataclass(slots=True)
class _Denial:
    reason: str
    until: float
    backoff: Backoff
    trying: bool = False
    """Whether one message is now being sent to test if the broker accepts the topic again. The others wait: the broker
    could accept a second one before the first."""


class OutboundScheduler:
    """Gives out messages and records their outcome. A topic that the broker denies waits, and the others continue.

    The byte rate limits all messages except the online or offline status.
    """

    def __init__(
        self, retained: Retained, outbox: StoredOutbox, egress: Egress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.retained = retained
        self.outbox = outbox
        self._egress = egress
        self._clock = clock
        self._bucket = ByteBucket(MAX_RATE, clock)
        self._denials: dict[Place, _Denial] = {}
        self._limits = (0, 0)
        self._waiting: set[Place] = set()
        """Places whose next message is too large for now."""
        self._too_large: dict[Place, int] = {}
        """Bytes by which the newest retained value of a place exceeds the limit of this connection's broker."""
        self._rarely = LogThrottle(clock=clock)
        self.bytes = 0
        """Bytes given out so far, as the byte rate counts them."""

    def limit(self, rate: int) -> None:
        """Set the rate in bytes a second."""
        self._bucket.set_rate(rate)

    def pause(self) -> float:
        """Return the seconds until the byte rate allows the next message; 0 for now."""
        return self._bucket.pause()

    def begin(self) -> None:
        """Prepare for a new connection: mark every retained value as due, and treat no topic as denied."""
        self._denials.clear()
        self._too_large.clear()
        self._waiting.clear()
        self.retained.again()

    def next(self, most: int, now_most: int = NO_LIMIT) -> Outgoing | None:
        """Return the next message after a second check.

        Its payload and its topic below the device's topic have at most ``most`` bytes. A larger result or event is
        lost. A larger retained value stays: another connection may accept it.

        ``now_most`` is a second limit, for now. A larger message waits, with the messages of its topic behind it, until
        a limit or the connection changes.
        """
        self._set_limits(most, now_most)
        now = self._clock()
        held = {place for place, denial in self._denials.items() if denial.trying or denial.until > now}
        spent = self._bucket.pause() > 0
        if value := self._next_retained(_AllBut(STATUS) if spent else held, most, now_most):
            return self._given(value)
        held |= self._waiting
        while not spent and (entry := self.outbox.next(held)):
            checked = self._egress.release(entry.place, entry.payload, late=entry.late)
            if checked is None:
                self.outbox.drop(entry, "rejected")
            elif not self._fits(entry.place, checked, most):
                self.outbox.drop(entry, "too_large")
            elif size_of(entry.place, checked) > now_most:
                self.outbox.again(entry)
                self._waiting.add(entry.place)
                held.add(entry.place)
            else:
                return self._given(Outgoing(entry.place, checked, entry))
        return None

    def _next_retained(self, held: Container[Place], most: int, now_most: int) -> Outgoing | None:
        while value := self.retained.next(held):
            place, payload = value
            checked = self._egress.release(place, payload)
            if checked is None:
                self.retained.forget(place)
            elif self._fits(place, checked, most) and size_of(place, checked) <= now_most:
                return Outgoing(place, checked, None)
            else:
                self._waiting.add(place)
        return None

    def _set_limits(self, most: int, now_most: int) -> None:
        if (most, now_most) != self._limits:
            for place in self._waiting:
                if place.rule.retained:
                    self.retained.missed(place)
            self._waiting.clear()
            self._limits = (most, now_most)

    def acked(self, message: Outgoing) -> None:
        """Record that the broker has acknowledged a message."""
        self._denials.pop(message.place, None)
        if message.entry:
            self.outbox.acked(message.entry)
        else:
            self.retained.acked(message.place, message.payload)

    def denied(self, message: Outgoing, reason: str) -> None:
        """Put back a message after the broker denied its topic.

        The topic waits with a growing back-off, and nothing is lost.
        """
        denial = self._denials.setdefault(message.place, _Denial(reason, 0.0, Backoff()))
        if denial.until <= self._clock():  # other messages of this topic in flight do not count as new attempts
            denial.reason, denial.until = reason, self._clock() + denial.backoff.failed(refused=True)
            denial.trying = False
        if message.entry:
            self.outbox.again(message.entry)
        else:
            self.retained.missed(message.place)

    def too_large(self) -> str:
        """Return a sentence about a retained value that exceeds the broker's packet limit; empty if there is none."""
        place, excess = next(iter(self._too_large.items()), (None, 0))
        if place is None:
            return ""
        topic = place.topic("…")
        return f"{topic} is not sent: it exceeds the broker's limit by {excess} bytes (raise its max_packet_size)"

    def interrupted(self) -> None:
        """Put back the messages in flight: the connection is gone."""
        self.outbox.rewind()

    def denials(self) -> dict[Place, str]:
        """Return the places that the broker denies, with the reasons."""
        return {place: denial.reason for place, denial in self._denials.items()}

    def _given(self, message: Outgoing) -> Outgoing:
        if denial := self._denials.get(message.place):
            denial.trying = True
        self._bucket.take(message.size)
        self.bytes += message.size
        return message

    def _fits(self, place: Place, payload: bytes, most: int) -> bool:
        size = size_of(place, payload)
        if place.rule.retained:
            self._too_large.pop(place, None)
            if size > most:
                self._too_large[place] = size - most
        if size > most and self._rarely.due(place):
            log.warning(
                "message for %s not sent: it exceeds the broker's limit by %d bytes (raise its max_packet_size; "
                "logged once a minute)",
                place.topic("…"), size - most,
            )  # fmt: skip
        return size <= most
