"""The connection of a subscriber. The iterating thread opens the connection, keeps it alive and reconnects."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_infer.client.events_view import EventsView
from edge_infer.client.heard_names import HeardNames
from edge_infer.client.message_numbers import ReceivedNumbers, Series
from edge_infer.client.payloads import read, split
from edge_infer.client.snapshots import Snapshot, Snapshots
from edge_infer.client.state_view import Standing, Standings
from edge_infer.client.survey import Survey
from edge_infer.client.update_log import UpdateLog, UpdateReader
from edge_infer.client.updates import (
    DeviceUpdate,
    EventUpdate,
    ResultUpdate,
    StateUpdate,
    StatusUpdate,
    UnreadableUpdate,
    Update,
)
from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import NAME_PATTERN, Event, Health, Info, Result, State, timestamp
from edge_infer.contract.topics import OFFLINE, ONLINE, Place
from edge_infer.errors import ConfigError, EdgeInferError, WireError
from edge_infer.plan.records import MqttPlan, TlsPlan
from edge_infer.platform.mqtt_guard import GuardedClient
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.mqtt.connection_failure import closed, explain, flooding, refusal, silent
from edge_infer.publisher.mqtt.paho_client import KEEPALIVE, equip, hang_up
from edge_infer.publisher.mqtt.reconnect import Backoff

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

MAX_TEXT_BYTES: Final = 65_535
"""Maximum bytes of a string in MQTT."""
GREETING: Final = 10.0
"""Maximum seconds until the broker has accepted the connection and the subscription."""
QOS: Final = 1
LASTING: Final = 10.0
"""Seconds after which a connection counts as a success; after shorter ones, the pauses between attempts grow."""
TURN: Final = 0.5
"""Maximum seconds of one wait inside paho; expired states are noticed with this delay."""


class _GuardedPaho(GuardedClient):
    """Truncates packets longer than the longest message with the longest topic, so that the topic stays readable."""

    largest = 1 << 17
    highest_qos = QOS
    cuts = True


class Client:
    """A subscriber to one device or all of them: a context manager for one thread, which iterates over `updates`.

    The iterating thread also keeps the connection. If the thread spends more than half a minute on one update, the
    broker disconnects, and the client reconnects. With ``client_id`` and ``keep_session`` the broker keeps messages
    while the client is away, as long and as many as the broker's configuration allows.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        device: str = "+",
        prefix: str = "edge-infer",
        username: str | None = None,
        password_file: str | None = None,
        tls: bool = False,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        client_id: str = "",
        keep_session: bool = False,
    ) -> None:
        """``tls``, or any of the files, encrypts the connection; raises `ConfigError` for a wrong argument.

        Without ``ca_file``, the client trusts the system's certificate authorities.
        """
        if keep_session and not client_id:
            raise ConfigError("keep_session needs a client_id, by which the broker recognizes the client")
        if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535):
            raise ConfigError(f"port={port!r} is not allowed; expected a whole number from 1 to 65535")
        if not isinstance(host, str) or not host:
            raise ConfigError(f"host={host!r} is not allowed; expected the name or address of the broker")
        for name, text in (("device", device), ("prefix", prefix), ("client_id", client_id), ("username", username)):
            if not isinstance(text, str) and not (name == "username" and text is None):
                raise ConfigError(f"{name}={text!r} is not allowed; expected a str")
        if len(client_id.encode()) > MAX_TEXT_BYTES:
            raise ConfigError(f"client_id has more than {MAX_TEXT_BYTES} bytes")
        if device != "+" and not re.fullmatch(NAME_PATTERN, device):
            raise ConfigError(f"device={device!r} is not allowed; expected the id of one device, or + for all")
        if not re.fullmatch("[^+#\0]+", prefix) or prefix.endswith("/"):
            raise ConfigError(f"prefix={prefix!r} is not allowed; expected topic levels without + and #")
        if password_file and username is None:
            raise ConfigError("password_file needs a username, the user that this password belongs to")
        if key_file and not cert_file:
            raise ConfigError("key_file needs a cert_file, the certificate that this key belongs to")
        files = (ca_file, cert_file, key_file)
        secure = TlsPlan(*files) if tls or any(files) else None
        usual = 1883 if secure is None else 8883
        self._plan = MqttPlan(host, port or usual, secure, username, password_file, prefix, 1, client_id)
        self._filter = f"{prefix}/{device}/#"
        self._prefix = prefix
        self._keep = keep_session
        self._paho: _GuardedPaho | None = None
        self._closed = False
        self._refused: EdgeInferError | None = None
        self._silent_at = self._connected_at = 0.0
        self._backoff = Backoff()
        self._again_at: float | None = None  # when to connect again; None while that is not decided
        self._rarely = LogThrottle()
        self._log = UpdateLog()
        self._turning = threading.Lock()
        self._heard = HeardNames()
        self._ledger = ReceivedNumbers()
        self._standings = Standings()
        self._events = EventsView()
        self._snapshots = Snapshots()
        self._survey = Survey(prefix, self._snapshots, all_devices=device == "+")
        self._surveyed: tuple[str, ...] = ()
        self._online: dict[str, tuple[bool, bool]] = {}  # the status of each device, and whether the message was live

    def __enter__(self) -> Self:
        """Connect; raises `EdgeInferError` with the cause and the remedy."""
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()

    def close(self) -> None:
        """End the connection and every iteration. May be called twice."""
        self._closed = True
        if self._paho is not None:
            self._paho.disconnect()
            self._paho = None

    @property
    def repetitions(self) -> int:
        """The number of duplicate messages, which were dropped."""
        return self._ledger.repetitions

    @property
    def forgotten(self) -> int:
        """The number of devices, pipelines and models that were forgotten because messages named too many."""
        return self._heard.forgotten

    def gaps(self) -> dict[Series, list[tuple[int, int]]]:
        """Return the missing numbers by series: the first and the last of each gap. Late messages close their gaps."""
        return self._ledger.gaps()

    def standing(self, device: str, pipeline: str) -> Standing:
        """Return the current state of a pipeline, as far as it is known, and its open events."""
        standing = self._standings.now(device, pipeline)
        if standing.state is None:
            return standing
        return replace(standing, events=self._events.of(device, pipeline))

    def health(self, device: str) -> Health | None:
        """Return the current health of a device; None while the health is unknown."""
        return self._standings.health(device)

    def snapshot(self, device: str) -> Snapshot:
        """Return a `Snapshot`, which shows whether the client has all retained messages of a device."""
        return self._snapshots.of(device)

    def snapshots(self) -> Mapping[str, Snapshot]:
        """Return the snapshot of each device that the client knows from messages."""
        return self._snapshots.all()

    @property
    def settled(self) -> bool:
        """Whether the broker has sent all retained messages that it will send on the current connection."""
        return self._paho is not None and self._survey.done

    @property
    def complete(self) -> bool:
        """Whether the client has all retained messages of every device; false before it is `settled`."""
        return self.settled and all(each.complete for each in self.snapshots().values())

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def updates(self, seconds: float | None = None) -> Iterator[Update]:
        """Yield every update as it arrives, for ``seconds`` or until `close`.

        The client reconnects after a lost connection. It yields a `StateUpdate` for each state that becomes unknown.
        Several iterations at the same time each yield all updates.
        """
        return self._iterate(object, seconds)

    def results(self, seconds: float | None = None) -> Iterator[ResultUpdate]:
        """Yield the results among the `updates`."""
        return self._iterate(ResultUpdate, seconds)

    def events(self, seconds: float | None = None) -> Iterator[EventUpdate]:
        """Yield the events among the `updates`."""
        return self._iterate(EventUpdate, seconds)

    def states(self, seconds: float | None = None) -> Iterator[StateUpdate]:
        """Yield the state of a pipeline whenever a message about it arrives or it becomes unknown."""
        return self._iterate(StateUpdate, seconds)

    def poll(self, seconds: float) -> list[Update]:
        """Wait once for messages, at most ``seconds`` (while connected, half a second); return the new updates."""
        reader = self.begin(object)
        self.turn(seconds)
        return list(iter(reader.read, None))

    def begin(self, kind: type[Any], end: float = float("inf")) -> UpdateReader:
        """Begin an iteration, as `UpdateLog.begin` does; the caller must call `turn` when there is nothing to read."""
        return self._log.begin(kind, end)

    def turn(self, seconds: float) -> None:
        """Wait up to half a second for messages and take them; without a connection, wait ``seconds`` to reconnect.

        Raises `EdgeInferError` while another thread is in this method.
        """
        if not self._turning.acquire(blocking=False):
            raise EdgeInferError("another thread iterates over this client: make a client for each thread")
        try:
            if not self._closed:
                self._turn(time.monotonic() + seconds)
        finally:
            self._turning.release()

    def _iterate(self, kind: type[Any], seconds: float | None) -> Iterator[Any]:
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        reader = self.begin(kind, end)
        try:
            while True:
                update = reader.read()
                if update is not None:
                    yield update
                elif reader.over or self._closed:
                    return
                else:
                    self.turn(end - time.monotonic())
        finally:
            reader.close()

    def _turn(self, end: float) -> None:
        if self._paho is None:
            self._connect_again(end)
            return
        left = max(0.0, min(TURN, end - time.monotonic()))
        fine = self._paho.loop(left) == MQTTErrorCode.MQTT_ERR_SUCCESS
        if self._paho.flood:
            self._refused = EdgeInferError(_of_arguments(flooding(self._plan, self._paho.flood).text))
        if not fine or time.monotonic() > self._silent_at or self._refused:
            self._lost(self._refused or EdgeInferError(silent(self._plan).text if fine else "the connection was lost"))
        elif (filters := self._survey.step()) is not None:
            self._change_filters(self._paho, filters)
        self._tell(self._standings.aged())

    def _change_filters(self, paho: _GuardedPaho, filters: tuple[str, ...]) -> None:
        """End the last step of the survey and begin the next one."""
        if self._surveyed:
            paho.unsubscribe(list(self._surveyed))
        self._surveyed = filters
        if filters:
            paho.subscribe([(each, QOS) for each in filters])

    def _connect(self) -> None:
        """Connect, and return once subscribed. Raises `EdgeInferError`, with the names of the arguments of `Client`."""
        try:
            self._dial()
        except EdgeInferError as error:
            raise EdgeInferError(_of_arguments(str(error))) from error

    def _dial(self) -> None:
        plan = self._plan
        paho = _GuardedPaho(
            CallbackAPIVersion.VERSION2,
            client_id=plan.client_id,
            clean_session=not self._keep,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        paho.on_connect = self._on_connect
        paho.on_subscribe = self._on_subscribe
        paho.on_message = self._on_message
        equip(paho, plan)
        self._refused, self._silent_at = None, time.monotonic() + GREETING
        try:
            paho.connect(plan.host, plan.port, KEEPALIVE)
            self._await_welcome(paho)
        except OSError as error:
            if isinstance(error, EdgeInferError):
                raise
            raise EdgeInferError(explain(error, plan, timestamp(time.time())).text) from error
        except EdgeInferError:
            hang_up(paho)
            self._tell(self._standings.disconnected())
            raise
        self._paho, self._connected_at = paho, time.monotonic()

    def _await_welcome(self, paho: _GuardedPaho) -> None:
        while self._silent_at < float("inf"):
            ended = paho.loop(TURN) != MQTTErrorCode.MQTT_ERR_SUCCESS
            if self._refused or ended or time.monotonic() > self._silent_at:
                told = flooding(self._plan, paho.flood) if paho.flood else (closed if ended else silent)(self._plan)
                raise self._refused or EdgeInferError(told.text)

    def _connect_again(self, end: float) -> None:
        if self._again_at is None:
            self._again_at = time.monotonic() + self._backoff.failed(refused=self._refused is not None)
        time.sleep(max(0.0, min(self._again_at, end) - time.monotonic()))
        if self._closed or time.monotonic() < self._again_at:
            return
        self._again_at = None
        try:
            self._connect()
        except EdgeInferError as error:
            if self._rarely.due(str(error)):
                log.warning("%s (logged once a minute)", error)

    def _lost(self, error: EdgeInferError) -> None:
        log.warning("%s; reconnecting", error)
        if time.monotonic() - self._connected_at > LASTING:
            self._backoff.reset()
        if self._paho is not None:
            hang_up(self._paho)
            self._paho = None
        self._online.clear()
        self._tell(self._standings.disconnected())

    def _on_connect(self, paho: Paho, _data: Any, flags: ConnectFlags, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = EdgeInferError(refusal(reason.value, reason.getName(), self._plan).text)
            return
        self._standings.connected(session=flags.session_present)
        self._snapshots.clear()
        self._events.forget()  # an end event may have been missed
        paho.subscribe(self._filter, qos=QOS)

    def _on_subscribe(self, _paho: Paho, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        if not reasons or reasons[0].is_failure:
            who = f"user {self._plan.username!r}" if self._plan.username else "clients without a user name"
            text = f"the broker denies {who} the subscription to {self._filter}: allow it in its access rules"
            self._refused = EdgeInferError(text)
        elif self._silent_at < float("inf"):  # later replies belong to the survey
            self._silent_at, self._surveyed = float("inf"), ()
            self._survey.begin()

    def _on_message(self, _paho: Paho, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._log.add(UnreadableUpdate("", "its topic is not UTF-8"))
            return
        found = split(topic, self._prefix)
        if found is None:
            self._log.add(UnreadableUpdate(topic, "this version has no such topic"))
            return
        if message.retain:
            self._survey.heard()
            if self._surveyed and self._snapshots.has(*found):
                return  # the subscription to everything has delivered it, and every change since then
        try:
            self._take(*found, bytes(message.payload), live=not message.retain)
        except WireError as error:
            self._log.add(UnreadableUpdate(topic, str(error)))

    def _take(self, device: str, place: Place, payload: bytes, *, live: bool) -> None:
        for gone in self._heard.hear(device, place.name_below if place.kind == "model" else place.name):
            self._forget(*gone)
        self._snapshots.take(device, place, empty=not payload)
        if place.kind == "status":
            if payload != ONLINE:
                self._events.forget(device)
            self._take_status(device, payload, live=live)
        elif not payload:
            if place.kind == "state":
                self._events.forget(device, place.name)
                self._tell(self._standings.removed(device, place.name))
        else:
            record = read(place, payload)
            if isinstance(record, State):
                self._tell(self._standings.state(device, place.name, record, live=live))
            elif isinstance(record, (Result, Event)):
                self._take_numbered(device, place.name, record, live=live)
            else:
                if isinstance(record, Info):
                    self._snapshots.info(device, record)
                if isinstance(record, Health):
                    self._tell(self._standings.spoken(device, record, live=live))
                self._log.add(DeviceUpdate(device, record, place.name))

    def _forget(self, device: str, name: str) -> None:
        """Forget a device, or one of its pipelines or models, because messages have named too many."""
        if self._rarely.due("forgotten"):
            log.warning(
                "too many devices, pipelines or models: the client forgets the least recently updated one, %s/%s (%d "
                "so far; logged once a minute)",
                *(device, name or "#", self._heard.forgotten),
            )
        if name.startswith("model/"):
            self._snapshots.forget(device, name)
            return
        if not name:
            self._online.pop(device, None)
        self._snapshots.forget(device, f"{name}/state" if name else "")
        self._events.forget(device, name)
        self._tell(self._standings.forget(device, name))

    def _take_status(self, device: str, payload: bytes, *, live: bool) -> None:
        if payload not in (ONLINE, OFFLINE, b""):
            raise WireError(f"expected the status 'online' or 'offline', not {payload[:32]!r}")
        online = payload == ONLINE
        before = self._online.get(device)
        self._online[device] = online, live
        self._snapshots.status(device, online=online)
        if before is None or before[0] != online or (live and not before[1]):  # not for each repetition
            self._log.add(StatusUpdate(device, online, retained=not live))
        self._tell(self._standings.status(device, online=online, live=live))

    def _take_numbered(self, device: str, pipeline: str, record: Result | Event, *, live: bool) -> None:
        self._tell(self._standings.spoken(device, record, pipeline, live=live))
        series = Series(device, pipeline, "event" if isinstance(record, Event) else "result", record.boot)
        skipped = record.skipped if isinstance(record, Event) and record.skipped is not ABSENT else 0
        missing = self._ledger.take(series, record.seq, replay=record.replay is not ABSENT, skipped=skipped)
        if missing is None:
            return
        if isinstance(record, Event):
            self._events.take(device, pipeline, record)
            self._log.add(EventUpdate(device, pipeline, record, missing))
        else:
            self._log.add(ResultUpdate(device, pipeline, record, missing))

    def _tell(self, pipelines: Iterable[tuple[str, str]]) -> None:
        for device, pipeline in pipelines:
            self._log.add(StateUpdate(device, pipeline, self.standing(device, pipeline)))


def _of_arguments(text: str) -> str:
    """Replace keys of the configuration in a sentence by the names of the arguments of `Client`."""
    return re.sub(r"\bmqtt\.(tls\.)?", "", text)
