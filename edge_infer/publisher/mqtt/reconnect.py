"""When and how to reconnect: back-off, likely reason of recent ends, version of MQTT, changed credential files."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion

from edge_infer.contract.codec import replace
from edge_infer.plan.records import MqttPlan
from edge_infer.publisher.mqtt.connection_failure import ConnectionFailure
from edge_infer.publisher.timestamps import Clock

# Back-off: the pause before the next connection attempt.

FIRST_PAUSE_SECONDS: Final = 0.5
FIRST_PAUSE_REFUSED_SECONDS: Final = 5.0
MAX_PAUSE_SECONDS: Final = 5.0
"""Maximum pause in seconds, however long the broker was away: a broker that returns is found within this time."""
MAX_PAUSE_REFUSED_SECONDS: Final = 30.0
MAX_PAUSE_TAKEN_SECONDS: Final = 300.0
"""Maximum pause in seconds when another client uses this client id. Two devices with one client id end each other's
connection: the longer each waits, the more messages get through."""


class Backoff:
    """Exponential back-off with full jitter, so that the devices of a fleet do not reconnect at the same time.

    If the broker refused the connection, the first and the longest pause are longer.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        self._draw = draw or random.Random()  # noqa: S311 - jitter, no secret
        self._failures = 0
        self._refusals = 0

    def failed(self, *, refused: bool = False, taken: bool = False) -> float:
        """Return the seconds until the next attempt.

        ``refused``: the broker refused the connection. ``taken``: it refused because another client uses this client
        id.
        """
        self._failures, self._refusals = (0, self._refusals + 1) if refused else (self._failures + 1, 0)
        start, most = (
            (FIRST_PAUSE_REFUSED_SECONDS, MAX_PAUSE_TAKEN_SECONDS if taken else MAX_PAUSE_REFUSED_SECONDS)
            if refused
            else (FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        )
        ceiling = min(most, start * 2.0 ** min(self._failures + self._refusals - 1, 16))
        return self._draw.uniform(start / 2, ceiling)

    def reset(self) -> None:
        """Start again with the shortest pause, after a success."""
        self._failures = self._refusals = 0


# Reconnect policy: finds the cause of an ended connection from the lifetimes of recent ones, and sets the pause.

SUSPICIOUS_CONNECTIONS: Final = 3
"""Number of short connections in a row after which another client is suspected to use the client id. The broker must
have been reachable each time. With MQTT 3.1.1 the broker does not report the conflict."""
RETRY_WITH_CLOCK: Final = "Retrying with pauses, and at once when a time service sets the clock"


class ReconnectPolicy:
    """Remembers failures until a connection lasts ``stable`` seconds.

    If two clients share the id, it must last ``settled``.
    """

    def __init__(self, plan: MqttPlan, clock: Clock, stable: float, settled: float) -> None:
        self._plan = plan
        self._clock = clock
        self._stable = stable
        self._settled = settled
        self._backoff = Backoff()
        self._short = 0
        self._contested = False
        self.waits_for_clock = False
        """Whether the last failure may disappear as soon as the clock is set."""

    def forget(self) -> None:
        """Forget earlier failures, because something has changed on this device.

        The next failure counts as the first.
        """
        self._backoff.reset()
        self._short = 0

    def failed(self, trouble: ConnectionFailure, lived: float | None) -> tuple[ConnectionFailure, float]:
        """Return the failure to report, and the seconds until the next attempt.

        ``lived`` is the lifetime of the connection, or None if the broker accepted none.
        """
        if lived is not None and lived >= (self._settled if self._contested else self._stable):
            self._backoff.reset()
            self._contested = False
        self._short = self._short + 1 if lived is not None and lived < self._stable else 0
        if self._short >= SUSPICIOUS_CONNECTIONS and not trouble.refused:
            whose = f"does another client use the client id {self._plan.client_id!r}? give each device its own"
            text = f"{trouble.text}, again shortly after connecting: {whose}"
            trouble = replace(trouble, text=text, refused=True, taken=True)
        self._contested |= trouble.taken
        self.waits_for_clock = trouble.clock and not self._clock.known
        if self.waits_for_clock:
            end = "" if trouble.text.endswith("?") else "."
            trouble = replace(trouble, text=f"{trouble.text}{end} {RETRY_WITH_CLOCK}")
        curable = trouble.other_version or trouble.lower_will
        return trouble, self._backoff.failed(refused=trouble.refused and not curable, taken=trouble.taken)


# Chooses the version of MQTT: 5, or 3.1.1 for a broker that supports no other.

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
VERSION_NAMES: Final = {V5: "MQTT 5", V311: "MQTT 3.1.1"}
ASK_AGAIN_SECONDS: Final = 3600.0
"""Seconds after which the publisher tries MQTT 5 again, at the end of a connection, with a broker that took only
3.1.1."""


class VersionChoice:
    """The version for the next attempt, from the outcomes of earlier attempts.

    Some brokers end a connection with MQTT 5 without an answer. So does a TCP forwarder while its broker is away.
    Therefore, if the broker then accepts 3.1.1, the publisher tries 5 once more.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.version = V5
        self._knows_no_other, self._known_at = False, 0.0
        self._is_repeated = False

    def accepted(self) -> bool:
        """Return whether to keep a connection that the broker has accepted; else close it and connect again at once."""
        if self.version == V5 or self._knows_no_other:
            return True
        self.version, self._is_repeated = V5, True
        return False

    def failed(self, failure: ConnectionFailure) -> bool:
        """Take the end of an attempt or a connection into account; return whether it changes the version to 3.1.1."""
        if self.version == V5:
            self._knows_no_other = failure.other_version and (failure.refused or self._is_repeated)
            self._is_repeated, self._known_at = False, self._clock()
            self.version = V311 if failure.other_version else V5
            return failure.other_version
        is_old = self._clock() - self._known_at >= ASK_AGAIN_SECONDS
        if failure.other_version or not self._knows_no_other or is_old:
            self.version, self._knows_no_other = V5, False
        return False


# Credential files of the connection; a change takes effect without a restart.

LOOK_EVERY: Final = 2.0
_Look = tuple[tuple[int, int, int] | None, ...]


class SecretFiles:
    """Password, CA, certificate and key files of a plan.

    Changes are detected by time, size and inode; the content is not read here.
    """

    def __init__(self, plan: MqttPlan, clock: Callable[[], float] = time.monotonic) -> None:
        tls = plan.tls
        paths = (plan.password_file, *((tls.ca_file, tls.cert_file, tls.key_file) if tls else ()))
        self._paths = tuple(Path(path) for path in paths if path)
        self._clock = clock
        self._look_at = 0.0
        self.used()

    def used(self) -> None:
        """Remember the current files as those that an attempt uses."""
        self._before = self._used = self._look()

    def changed(self) -> bool:
        """Whether the files differ from those in use.

        They must also be unchanged since the previous check, so that writing is complete.
        """
        if not self._paths or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + LOOK_EVERY
        now = self._look()
        still, self._before = now == self._before, now
        return still and now != self._used

    def _look(self) -> _Look:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
