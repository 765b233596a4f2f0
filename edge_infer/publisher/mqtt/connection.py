"""The MQTT connection: one paho client at a time, owned by the one thread that calls `MqttConnection.step`."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_infer.contract.codec import replace
from edge_infer.contract.topics import OFFLINE, ONLINE, OUTCOMES, RULES, STATUS, Kind, Rule
from edge_infer.plan.records import MqttPlan
from edge_infer.platform.event_loop import readable
from edge_infer.platform.mqtt_guard import FloodError
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.mqtt.connection_failure import (
    ConnectionFailure,
    address,
    closed,
    denial,
    explain,
    flooding,
    refusal,
    silent,
)
from edge_infer.publisher.mqtt.inflight_window import MOST_WINDOW, NO_LIMIT, InflightWindow, PacketLimit
from edge_infer.publisher.mqtt.paho_client import (
    KEEPALIVE,
    PLAIN,
    Attempt,
    ConnectOptions,
    OneWayClient,
    hang_up,
)
from edge_infer.publisher.mqtt.reconnect import V5, V311, VERSION_NAMES, ReconnectPolicy, SecretFiles, VersionChoice
from edge_infer.publisher.outbox.scheduler import OutboundScheduler, Outgoing
from edge_infer.publisher.resolver import LookUp, ResolverEndedError, addresses_of
from edge_infer.publisher.timestamps import Clock

log = logging.getLogger(__name__)

_GOODBYE: Final = 2.0
"""Seconds allowed for leaving a broker before reconnecting with other credentials."""
_ROOM: Final = 40
"""Maximum bytes of a packet in addition to its payload and topic: header 5, two lengths 4, packet id 2, properties
28."""
_AT_ONCE: Final = 5.0
"""If a broker ends the connection within this many seconds after a message, the message may be the cause."""
_MOST_READS: Final = 200
"""Maximum number of reads per second without an expected packet."""
_READ_WITHIN: Final = 0.125
"""Seconds for which acknowledgements may wait while few messages are in flight. Reading each one at once would wake
this process once more; the next message to send wakes it anyway."""


@dataclass(frozen=True, slots=True)
class MqttTimeouts:
    """Timeouts in seconds.

    - ``dialling``: an attempt is abandoned after this time.
    - ``greeting``: the broker must answer CONNECT within this time.
    - ``acknowledging``: the broker must acknowledge one of the messages in flight within this time.
    - ``stable``: a connection that lasts this long clears earlier failures.
    - ``settled``: as ``stable``, after another client took over the client id.
    - ``keepalive``: after this silence the client sends a ping.
    """

    dialling: float = 35.0
    greeting: float = 10.0
    acknowledging: float = 20.0
    stable: float = 10.0
    settled: float = 600.0
    keepalive: int = KEEPALIVE


class MqttConnection:
    """Connects, reconnects and sends messages, and describes its state in one sentence.

    `step` blocks only when credentials have changed: it then first disconnects, which takes two seconds at most.
    """

    def __init__(
        self,
        plan: MqttPlan,
        cargo: OutboundScheduler,
        patience: MqttTimeouts | None = None,
        clock: Clock | None = None,
        look_up: LookUp = addresses_of,
    ) -> None:
        self.plan = plan
        self._cargo = cargo
        self._patience = patience or MqttTimeouts()
        self._clock = clock or Clock()
        self._look_up = look_up
        self._manner = ConnectOptions(keepalive=self._patience.keepalive)
        self._versions = VersionChoice()
        self._files = SecretFiles(plan)
        self._diagnosis = ReconnectPolicy(plan, self._clock, self._patience.stable, self._patience.settled)
        self._rarely = LogThrottle()
        self._attempt: Attempt | None = None
        self._client: OneWayClient | None = None
        self._up = False
        self._leaving = False
        self._idle = self._unwatched = self._asks_again = False
        self._ended: ConnectionFailure | None = None
        self._since = self._acked_at = 0.0
        self._retry_at = 0.0
        self._under_way: dict[int, tuple[Outgoing, float]] = {}
        self._flight = InflightWindow()
        self._qos, self._most = int(plan.qos), NO_LIMIT
        self._limit = PacketLimit()
        self._reads, self._reads_since = 0, 0.0
        self._sentence = f"not yet connected to {address(plan)}"

    @property
    def up(self) -> bool:
        """Whether the broker has accepted this connection."""
        return self._up

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this connection, and denies no topic of results, events or states."""
        return self._up and not any(place.kind in OUTCOMES for place in self._cargo.denials())

    @property
    def fault(self) -> str:
        """The reason why the broker does not get every message over this connection; empty if it does."""
        denials = self._cargo.denials()
        outcomes_first = sorted(denials, key=lambda place: place.kind not in OUTCOMES)
        return next((denials[place] for place in outcomes_first), "") or self._cargo.too_large()

    @property
    def sentence(self) -> str:
        """The state of the connection, for the operator."""
        if not self._up:
            return self._sentence
        return f"{self._sentence}, but {fault}" if (fault := self.fault) else self._sentence

    def files(self) -> tuple[list[int], list[int]]:
        """Return two lists of file descriptors: to wait for until readable, and until writable.

        The first list is empty while acknowledgements may wait.
        """
        if self._attempt:
            return [self._attempt.fileno()], []
        sock = self._client.socket() if self._client else None
        if self._client is None or sock is None:
            return [], []
        self._unwatched = self._patience_left() > 0
        return [] if self._unwatched else [sock.fileno()], [sock.fileno()] if self._client.want_write() else []

    def due(self) -> float:
        """Return the seconds after which to call `step` even if no file is ready, at most one second."""
        if self._attempt or self._client:
            return min(1.0, self._cargo.pause() or 1.0, self._patience_left() or 1.0)
        return min(1.0, max(0.0, self._retry_at - time.monotonic()))

    def step(self, ready: Container[int] | None = None) -> None:
        """Do everything that is possible now.

        ``ready`` are the readable files among the last `files`; None: not known.
        """
        now = time.monotonic()
        if not self._leaving and self._files.changed():
            self._use_new_files(now)
        if self._attempt:
            self._await(self._attempt, now)
        elif self._client is None and now >= self._retry_at and not self._leaving:
            self._files.used()
            self._manner = replace(self._manner, version=self._versions.version)
            self._attempt, self._since = Attempt(self.plan, self._manner, self._look_up), now
        if self._client:
            self._exchange(self._client, now, ready)

    def clock_set(self) -> None:
        """Retry at once if the last failure may have come from the wrong clock, because the clock is now set."""
        if self._diagnosis.waits_for_clock:
            self._retry_at = 0.0

    def finish(self, deadline: float) -> bool:
        """Send waiting messages, then ``offline``, and disconnect. Return True if the broker acknowledged in time.

        If the broker does not acknowledge in time, the socket is closed without DISCONNECT, so that the broker
        publishes the will.
        """
        self._leaving, self._idle = True, False
        self._run(deadline - 0.5)
        if self._up:
            self._cargo.retained.set(STATUS, OFFLINE)
            self._idle = False
            self._run(deadline - 0.1)
        told = self._up and self._idle
        if self._up and not told:
            self._sentence = f"{address(self.plan)} did not acknowledge the last messages in time"
        if told and self._client:
            self._client.disconnect()
            while self._client.want_write() and time.monotonic() < deadline:
                readable((), self.files()[1], 0.05)
                self._client.loop_write()
        self.close()
        return told

    def close(self) -> None:
        """Close the connection in whatever state it is. May be called twice."""
        if self._attempt:
            self._attempt.close()
            self._attempt = None
        if self._client:
            hang_up(self._client)
            self._client = None
        if self._under_way or self._up:
            self._cargo.interrupted()
        self._under_way.clear()
        self._up = False

    def _patience_left(self) -> float:
        """Return the seconds for which acknowledgements may still wait; 0 if they should be read on arrival."""
        if not self._up or self._leaving or not 0 < len(self._under_way) <= self._flight.window // 2:
            return 0.0
        _, oldest = next(iter(self._under_way.values()))
        return max(0.0, oldest + _READ_WITHIN - time.monotonic())

    def _run(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0 and (self._client or self._attempt) and not self._idle:
            reads, writes = self.files()
            readable([*reads, *self._cargo.outbox.files()], writes, min(left, 0.1))
            self._cargo.outbox.step()
            self.step()

    def _use_new_files(self, now: float) -> None:
        """Reconnect at once when credential files have changed, so that the operator sees errors immediately."""
        log.info("mqtt credentials changed: reconnecting")
        self._diagnosis.forget()
        if self._up:
            self.finish(now + _GOODBYE)
            self._leaving = False
        self.close()
        self._retry_at, self._sentence = 0.0, f"connecting to {address(self.plan)} with changed credentials"

    def _await(self, attempt: Attempt, now: float) -> None:
        outcome = attempt.outcome()
        if isinstance(outcome, OneWayClient):
            attempt.close()
            self._attempt = None
            self._adopt(outcome, now)
        elif isinstance(outcome, ResolverEndedError):
            raise outcome
        elif outcome is not None:
            self._fail(explain(outcome, self.plan, self._clock.now()))
        elif now - self._since > self._patience.dialling:
            self._fail(explain(TimeoutError(), self.plan, ""))

    def _adopt(self, client: OneWayClient, now: float) -> None:
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        self._client, self._ended, self._since, self._idle = client, None, now, False

    def _exchange(self, client: OneWayClient, now: float, ready: Container[int] | None) -> None:
        self._read(client, now, ready)
        if self._asks_again:
            self._ask_again(client)
            return
        client.loop_misc()
        if self._up and self._ended is None:
            self._send(client, now)
        if client.want_write():
            client.loop_write()
        if self._ended is None:
            self._ended = self._impatient(now)
        if self._ended is None and client.socket() is None:
            self._ended = (
                ConnectionFailure(f"the connection to {address(self.plan)} ended") if self._up else closed(self.plan)
            )
        if self._ended is not None:
            self._fail(self._ended)

    def _ask_again(self, client: OneWayClient) -> None:
        """Leave the broker, which has accepted MQTT 3.1.1, and connect at once with MQTT 5."""
        self._asks_again, self._retry_at = False, 0.0
        client.on_disconnect = None
        client.disconnect()  # without it the broker would publish the will
        self.close()

    def _read(self, client: OneWayClient, now: float, ready: Container[int] | None) -> None:
        sock = client.socket()
        if sock is None:
            return
        if ready is None or self._unwatched:
            ready = readable([sock.fileno()])
        if sock.fileno() not in ready:
            return
        if now - self._reads_since > 1.0:
            self._reads, self._reads_since = 0, now
        for _ in range(50):
            self._reads += 1
            client.loop_read()
            sock = client.socket()
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():  # TLS may hold bytes that select cannot see
                break

    def _send(self, client: OneWayClient, now: float) -> None:
        if now - self._since >= self._patience.stable:
            self._limit.lasted()
        while len(self._under_way) < self._flight.window and not client.want_write():
            message = self._cargo.next(min(self._most, self._limit.known), self._limit.most)
            if message is None:
                self._idle = not self._under_way and not self._cargo.outbox.reading
                return
            rule = message.place.rule
            properties = _properties(message) if self._manner.version == V5 and message.payload else None
            topic = message.place.topic(self.plan.topic)
            info = client.publish(topic, message.payload, self._qos, rule.retained, properties)
            if self._qos == 0 and info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and info.is_published():
                self._cargo.acked(message)
            else:
                self._under_way[info.mid] = (message, now)

    def _impatient(self, now: float) -> ConnectionFailure | None:
        where, patience = address(self.plan), self._patience
        if not self._up and now - self._since > patience.greeting:
            return silent(self.plan)
        oldest = next(iter(self._under_way.values()), (None, now))[1]
        if now - max(oldest, self._acked_at) > patience.acknowledging:  # the last of many waits long on a slow link
            return ConnectionFailure(
                f"the broker {where} has acknowledged no message for {patience.acknowledging:.0f} s: does it hang?"
            )
        if self._reads > _MOST_READS:
            return ConnectionFailure(
                f"the broker {where} sends a flood of unrequested packets: check mqtt.host", refused=True
            )
        return None

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._ended = refusal(reason.value, reason.getName(), self.plan)
            return
        if not self._leaving and not self._versions.accepted():
            self._asks_again = True
            return
        now = time.monotonic()
        self._flight.begin(getattr(properties, "ReceiveMaximum", MOST_WINDOW))
        if self._manner.version == V5:
            self._limit = PacketLimit()  # the broker reports its limit
        self._limit.begin()
        self._up, self._since, self._acked_at, self._reads = True, now, now, 0
        self._qos = min(int(self.plan.qos), getattr(properties, "MaximumQoS", 1))
        self._most = getattr(properties, "MaximumPacketSize", NO_LIMIT) - len(self.plan.topic.encode()) - _ROOM
        how = VERSION_NAMES[self._manner.version] + (", TLS" if self.plan.tls else "")
        self._sentence = f"connected to {address(self.plan)} ({how})"
        log.info("%s", self._sentence)
        if not self._leaving:
            self._cargo.retained.set(STATUS, ONLINE)
        self._cargo.begin()

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        full = len(self._under_way) >= self._flight.window
        message, sent = self._under_way.pop(mid, (None, 0.0))
        if message is None:
            return  # a QoS 0 message was written before `publish` returned
        self._reads, self._acked_at = 0, time.monotonic()
        self._flight.acked(self._acked_at - sent, full=full)
        if not reason.is_failure:
            self._limit.acked(message.size)
            self._cargo.acked(message)
            return
        text = denial(reason.value, reason.getName(), message.place.topic(self.plan.topic), self.plan)
        self._cargo.denied(message, text)
        if self._rarely.due(message.place):
            log.warning("%s (its messages stay queued; logged once a minute)", text)

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if self._ended is not None or self._client is None:
            return
        where = address(self.plan)
        if flags.is_disconnect_packet_from_server:
            self._ended = refusal(reason.value, reason.getName(), self.plan)
        elif isinstance(self._client.fault, FloodError):
            self._ended = flooding(self.plan, self._client.fault)
        elif self._client.fault is not None and not self._up:
            self._ended = explain(self._client.fault, self.plan, self._clock.now())
        elif not self._up:
            self._ended = closed(self.plan)
        elif reason.getName() == "Keep alive timeout":
            self._ended = ConnectionFailure(f"the broker {where} does not answer any more")
        elif self._manner.version == V311 and (size := self._limit_found()) is not None:
            self._ended = self._too_large(size)
        else:
            why = f" ({self._client.fault})" if self._client.fault else ""
            self._ended = ConnectionFailure(f"the broker {where} closed the connection{why}")

    def _limit_found(self) -> int | None:
        """Return the message size that now counts as too large; None also with QoS 0, which has no acknowledgements."""
        return self._limit.ended(self._just_sent()) if self._qos > 0 else None

    def _too_large(self, size: int) -> ConnectionFailure:
        """Return the failure for connections that end at messages of this size."""
        self._diagnosis.forget()  # these ends may have looked like those of a shared client id
        known = self._limit.known < size
        drops = "so the publisher drops larger ones (raise its limit of packets)"
        return ConnectionFailure(
            f"the broker {address(self.plan)} closed the connection at a message of {size} bytes: "
            f"it {'seems to' if known else 'may'} accept only smaller ones, "
            + (drops if known else "so larger ones wait until a connection has lasted without them")
        )

    def _just_sent(self) -> list[int]:
        """Return the sizes of the messages in flight that may have caused the end of the connection."""
        now = time.monotonic()
        return [message.size for message, sent in self._under_way.values() if now - sent < _AT_ONCE]

    def _fail(self, trouble: ConnectionFailure) -> None:
        now = time.monotonic()
        trouble, pause = self._diagnosis.failed(trouble, now - self._since if self._up else None)
        self.close()
        self._ended = None
        self._sentence = trouble.text
        if self._versions.failed(trouble):
            log.info("%s; the next attempt uses MQTT 3.1.1", trouble.text)
        if trouble.lower_will:
            self._manner = replace(self._manner, will_qos=0)
        self._retry_at = now + pause
        if self._rarely.due(trouble.text):
            log.warning("%s (next attempt in %.1f s; logged once a minute)", trouble.text, pause)


class _Packed(Properties):
    """MQTT properties that never change and are encoded only once."""

    _bytes: bytes

    def __init__(self, rule: Rule) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self.ContentType = PLAIN if rule.record is None else "application/json"
        self.PayloadFormatIndicator = 1
        if rule.expiry is not None:
            self.MessageExpiryInterval = rule.expiry
        object.__setattr__(self, "_bytes", super().pack())  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        """Return the encoded bytes; paho requests them for each message."""
        return self._bytes


_PROPERTIES: Final[Mapping[Kind, Properties]] = {kind: _Packed(rule) for kind, rule in RULES.items()}
"""MQTT 5 properties of each kind of message. Topic aliases are never used: a message that is resent with an alias loops
for ever."""
_LASTING: Final[Properties] = _Packed(replace(RULES["status"], expiry=None))
"""The properties of the offline status, which has no expiry: it holds until the device publishes a new status."""


def _properties(message: Outgoing) -> Properties:
    return _LASTING if message.payload == OFFLINE else _PROPERTIES[message.place.kind]
