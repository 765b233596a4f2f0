"""Limits of unacknowledged messages: how many may be in flight, and how large each may be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Final

# In-flight window: enough unacknowledged messages to fill the link, but few enough for an alarm to pass soon.

WINDOW: Final = 20
"""Initial number of messages in flight; it is also the maximum on a fast link."""
MOST_WINDOW: Final = 200
LEAST_WINDOW: Final = 4
RATE: Final = 40.0
"""Messages per second that the largest window allows, whatever the latency of the link."""
QUEUE: Final = 0.5
"""Seconds for which messages may queue in front of the link, in addition to the link's own latency."""
GROWTH: Final = 1.5
"""Factor by which the window grows for each round without a queue."""
REMEMBERED: Final = 60.0
"""Seconds after which the link latency is measured again, because the route may have become longer."""


class InflightWindow:
    """Estimates the latency of the link, and the queue that this device causes, from the delays of acknowledgements.

    A round is twice as long as the link latency, so that it shows the effect of the last change of the window. The
    quickest acknowledgement of a round reveals a queue that never empties; a burst delays only some acknowledgements.
    The base delay and the limit on added queueing follow LEDBAT (RFC 6817). The repeated measurement of the base delay
    follows BBR.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin(MOST_WINDOW)

    def begin(self, most: int) -> None:
        """Start with a new connection to a broker that accepts ``most`` messages at once."""
        self._most = max(1, min(MOST_WINDOW, most))
        self._size = float(WINDOW)
        self._before: float | None = None
        self._base = self._quickest = math.inf
        self._filled, self._count, self._began = False, 0, self._clock()
        self._round_ends, self._period_ends = -math.inf, self._clock() + REMEMBERED

    @property
    def window(self) -> int:
        """The number of messages that may be in flight."""
        return min(self._most, int(self._size))

    def acked(self, seconds: float, *, full: bool) -> None:
        """Record that an acknowledgement took ``seconds``; ``full``: the window was full when the message was sent."""
        now = self._clock()
        self._base = min(self._base, seconds)
        self._quickest = min(self._quickest, seconds)
        self._filled |= full
        self._count += 1
        if now < self._round_ends:
            return
        if self._before is not None:
            self._size, self._before = self._before, None
        elif now >= self._period_ends:
            self._look_again(now)
        elif self._filled:
            self._judge(self._count / max(now - self._began, 1e-6))
        self._quickest, self._filled, self._count = math.inf, False, 0
        self._began, self._round_ends = now, now + 2 * seconds

    def _look_again(self, now: float) -> None:
        """Shrink the window for one round, so that no queue forms and the latency of the round is that of the link."""
        self._base, self._period_ends = math.inf, now + REMEMBERED
        self._before, self._size = self._size, max(LEAST_WINDOW, self._size / 2)

    def _judge(self, rate: float) -> None:
        """Set the window for the measured rate: the messages that the link holds at that rate, plus a short queue."""
        enough = rate * (self._base + QUEUE / 2)
        if self._quickest - self._base < QUEUE / 4:
            enough = max(enough, self._size * GROWTH)
        self._size = max(LEAST_WINDOW, min(enough, max(WINDOW, RATE * self._base)))


# Maximum message size of a broker that does not report it: with MQTT 3.1.1 it ends the connection without a reason.

NO_LIMIT: Final = 1 << 28
"""Maximum bytes of a packet if the broker reports no limit."""
ATTEMPTS: Final = 3
"""Number of connections that must end with the same message in flight before its size is suspected."""
MIN_LIMIT_BYTES: Final = 1100
"""Messages with fewer bytes are never suspected. Every result, event and state has at most this many bytes unless
`max_payload` is raised. The smallest default limit of a known broker is that of Moquette, 8092 bytes."""
FIRST_FORGOTTEN_SECONDS: Final = 300.0
"""Seconds after which larger messages are tried again, because the broker's limit may have been raised. The seconds
double each time that the limit proves right."""
MAX_FORGOTTEN_SECONDS: Final = 3600.0
REPEATED_SECONDS: Final = 60.0
"""Seconds within which the end of a connection with a repeated message in flight proves an assumed limit."""


class PacketLimit:
    """Learns the limit from connections that ended while a message larger than any accepted one was in flight.

    A misbehaving broker, or a second client with the same id, also ends connections. Therefore a limit is first only
    assumed. It becomes known once a connection has lasted without larger messages, and has then ended with a larger
    one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known = self._assumed = NO_LIMIT
        self._known_until = self._quiet_until = 0.0
        self._seconds = FIRST_FORGOTTEN_SECONDS
        self._accepted = self._suspect = self._times = 0
        self._accepted_at = self._repeated_until = 0.0
        self._silent = 0

    @property
    def known(self) -> int:
        """The maximum bytes of a message, including its topic, that the broker accepts."""
        if self._known != NO_LIMIT and self._clock() >= self._known_until:
            self._known = NO_LIMIT
        return self._known

    @property
    def most(self) -> int:
        """The maximum bytes of a message that may be sent now; larger ones wait, unless they exceed `known`."""
        return min(self.known, self._assumed)

    def begin(self) -> None:
        """Start with a new connection."""
        self._silent += 1
        self._repeated_until = 0.0

    def acked(self, size: int) -> None:
        """Record that the broker accepted a message of this size."""
        self._silent, now = 0, self._clock()
        if size >= self._accepted or now - self._accepted_at > MAX_FORGOTTEN_SECONDS:  # the limit may be lower now
            self._accepted, self._accepted_at = size, now
        if self._suspect and size >= self._suspect:
            self._absolve()
            self._seconds = FIRST_FORGOTTEN_SECONDS

    def lasted(self) -> None:
        """Record that a connection has lasted; then larger messages are tried once more, on this connection."""
        if self._assumed != NO_LIMIT and not self._silent:
            self._assumed, self._repeated_until = NO_LIMIT, self._clock() + REPEATED_SECONDS

    def ended(self, sizes: Iterable[int]) -> int | None:
        """Record that the broker ended a connection with messages of these sizes in flight.

        Return the message size that now counts as too large; None if there is no new one. The end of a connection may
        cut off acknowledgements, so three connections are evidence even without an acknowledgement. An assumed limit is
        dropped if connections end in spite of it: four of them without an acknowledgement, or one with only small
        messages in flight.
        """
        now, largest = self._clock(), max(sizes, default=0)
        is_assumed, is_small = self._assumed != NO_LIMIT, largest <= max(self._accepted, MIN_LIMIT_BYTES)
        if is_small or (is_assumed and self._silent > ATTEMPTS):
            if is_assumed:
                self._quiet_until = now + FIRST_FORGOTTEN_SECONDS
            self._absolve()
            return None
        if now < self._quiet_until:
            return None
        if now < self._repeated_until and largest >= self._suspect:
            self._known, self._known_until = self._suspect - 1, now + self._seconds
            self._seconds = min(2 * self._seconds, MAX_FORGOTTEN_SECONDS)
            self._times, self._repeated_until = 0, 0.0
            return self._suspect
        self._times = self._times + 1 if largest == self._suspect else 1
        self._suspect = largest
        if self._times < ATTEMPTS:
            return None
        self._assumed, self._times, self._silent = largest - 1, 0, 0
        return largest

    def _absolve(self) -> None:
        """Suspect no size any more."""
        self._assumed, self._repeated_until = NO_LIMIT, 0.0
        self._suspect = self._times = 0
