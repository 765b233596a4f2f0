"""A paho client for the publisher. It only sends, and has no more messages in flight than the window allows."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_infer.contract.topics import OFFLINE, STATUS
from edge_infer.errors import StartError
from edge_infer.plan.credentials import broker_password
from edge_infer.plan.records import MqttPlan
from edge_infer.plan.tls import tls_context
from edge_infer.platform.mqtt_guard import GuardedClient
from edge_infer.publisher.mqtt.inflight_window import MOST_WINDOW
from edge_infer.publisher.resolver import LookUp, addresses_of

KEEPALIVE: Final = 30
PLAIN: Final = "text/plain"
"""The content type of a status payload."""
CONNECT_TIMEOUT: Final = 5.0
HANDSHAKE_TIMEOUT: Final = 15.0
"""Seconds for the TLS handshake: up to three round trips with certificates, over a link of 64 kbit/s and 2 s
latency."""
MOST_RECEIVED: Final = 16384
"""Maximum bytes of one packet from the broker, which only has to send short acknowledgements."""


class _Ear(logging.Logger):
    """Logger that keeps the error that ended a connection.

    paho passes this error only to its logger, as an exception among the arguments.
    """

    fault: OSError | None = None

    def log(self, level: int, msg: object, *args: object, **_kwargs: Any) -> None:  # noqa: ARG002
        """Keep the newest error. Format nothing, because paho logs each packet."""
        if level >= logging.ERROR:
            self.fault = next((arg for arg in args if isinstance(arg, OSError)), self.fault)


class OneWayClient(GuardedClient):
    """Client that subscribes to nothing. It ends a connection on which messages or long packets arrive.

    The overridden methods are internal to paho. Without the first override each failed handshake would leave its socket
    open until garbage collection; a test counts open files. The second override resolves the broker's name with
    ``look_up``. It does not bind the socket first, because the publisher's sandbox forbids binding.
    """

    largest = MOST_RECEIVED
    look_up: LookUp = staticmethod(addresses_of)

    def __init__(self, client_id: str, protocol: MQTTProtocolVersion) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False
        )
        self._ear = _Ear("paho")
        self.enable_logger(self._ear)

    @property
    def fault(self) -> OSError | None:
        """The error that ended the connection, if one came from the operating system, TLS or the guard."""
        return self.flood or self._ear.fault

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None
        wrapped = self._ssl_context.wrap_socket(tcp_sock, server_hostname=self._host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(HANDSHAKE_TIMEOUT)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _create_socket_connection(self) -> socket.socket:
        failure: OSError | None = None
        for address in self.look_up(self._host):
            try:
                return socket.create_connection((address, self._port), self._connect_timeout)
            except OSError as error:
                failure = error
        raise failure or OSError(errno.EADDRNOTAVAIL, "the name has no address")


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """CONNECT options: protocol version, QoS of the will (some brokers support only 0), and keep-alive in seconds.

    The broker keeps no session, because this device itself keeps undelivered messages. So the broker publishes the will
    as soon as the connection is lost.
    """

    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
    will_qos: int = 1
    keepalive: int = KEEPALIVE


def dial(plan: MqttPlan, manner: ConnectOptions, look_up: LookUp = addresses_of) -> OneWayClient:
    """Connect, which may take seconds, and send CONNECT with the will. Do not wait for the answer.

    Raises OSError, and `StartError` for files that cannot be used.
    """
    protocol = manner.version
    client = prepare(plan, protocol)
    client.look_up = look_up
    properties = will = None
    if protocol == MQTTProtocolVersion.MQTTv5:
        will = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
        will.ContentType, will.PayloadFormatIndicator = PLAIN, 1
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MOST_RECEIVED
        properties.ReceiveMaximum = 1
        properties.SessionExpiryInterval = 0
    client.will_set(STATUS.topic(plan.topic), OFFLINE, qos=manner.will_qos, retain=True, properties=will)
    client.connect(plan.host, plan.port, manner.keepalive, properties=properties)
    if isinstance(sock := client.socket(), socket.socket):
        # Without TCP_NODELAY an event waits until the state before it is acknowledged, which takes a round trip.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def prepare(plan: MqttPlan, protocol: MQTTProtocolVersion) -> OneWayClient:
    """Return an unconnected client with the credentials of the plan and without a will; raises `StartError`."""
    client = OneWayClient(plan.client_id, protocol)
    client.max_inflight_messages = client.max_queued_messages = MOST_WINDOW
    equip(client, plan)
    return client


def equip(client: Client, plan: MqttPlan) -> None:
    """Set the credentials of the plan and a connection timeout on any client; raises `StartError`."""
    client.connect_timeout = CONNECT_TIMEOUT
    if plan.username is not None:
        client.username_pw_set(plan.username, broker_password(plan))
    if plan.tls is not None:
        client.tls_set_context(tls_context(plan.tls, "mqtt.tls", StartError))


def hang_up(client: Client) -> None:
    """Close the socket without DISCONNECT, so that the broker publishes the will."""
    if sock := client.socket():
        sock.close()


# One attempt to connect to the broker, in a thread of its own, because name lookups, connections and handshakes may
# hang.


class Attempt:
    """Connects in the background.

    Its file descriptor is readable once there is an outcome. It may be abandoned; its thread does not keep the process
    alive.
    """

    def __init__(self, plan: MqttPlan, manner: ConnectOptions, look_up: LookUp = addresses_of) -> None:
        self._plan = plan
        self._manner = manner
        self._look_up = look_up
        self._lock = threading.Lock()
        self._abandoned = False
        self._client: OneWayClient | None = None
        self._error: OSError | ValueError | None = None
        self._readable, self._writable = os.pipe()
        threading.Thread(target=self._run, name="dial", daemon=True).start()

    def fileno(self) -> int:
        """Return the file descriptor for select: readable when the attempt is done."""
        return self._readable

    def outcome(self) -> OneWayClient | OSError | ValueError | None:
        """Return the client, which then belongs to the caller, or the error; None while the attempt is running."""
        with self._lock:
            client, self._client = self._client, None
            return client or self._error

    def close(self) -> None:
        """Abandon the attempt. If it succeeds later, it closes the connection itself. May be called twice."""
        with self._lock:
            self._abandoned = True
            client, self._client = self._client, None
        if client:
            hang_up(client)
        if self._readable >= 0:
            os.close(self._readable)
            self._readable = -1

    def _run(self) -> None:
        client, error = None, None
        try:
            client = dial(self._plan, self._manner, self._look_up)
        except (OSError, ValueError) as fault:
            error = fault.with_traceback(None)  # its frames and the client refer to each other
        with self._lock:
            self._error = error
            if not self._abandoned:
                self._client = client
            elif client:
                hang_up(client)
        os.close(self._writable)  # closing this end makes the other end readable
