"""Samples from a sensor that publishes them to a broker on this board or on its network."""

from __future__ import annotations

import contextlib
import math
import os
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING, Any, ClassVar, Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_infer.errors import SourceError
from edge_infer.plan.credentials import source_password
from edge_infer.plan.records import Gives, TlsPlan
from edge_infer.plan.tls import tls_context
from edge_infer.platform.closing import Closing
from edge_infer.platform.mqtt_guard import GuardedClient
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.credentials_in_url import unreachable
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.row_gatherer import RowGatherer, next_block
from edge_infer.readers.sources.row_parser import Row, RowParser

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT: Final = 5.0
"""Timeout in seconds for the connection, and again for the broker's replies."""
KEEPALIVE: Final = 15
LARGEST: Final = 1 << 18
"""Maximum size of a message in bytes. A longer one ends the connection; paho itself would accept 256 MiB."""
QOS: Final = 0
"""QoS of the subscription. A sample that the connection loses would come too late anyway."""
USELESS: Final = 30.0
"""Seconds with only unusable messages after which the source fails."""


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """``topic`` has no wildcards, because messages of several sensors do not form one signal."""

    topic: str
    host: str = "127.0.0.1"
    port: int | None = None
    tls: TlsPlan | None = None
    username: str | None = None
    password_file: str | None = None
    columns: tuple[str, ...] = ()
    rate: float | None = None

    def __post_init__(self) -> None:
        if not self.topic or any(character in self.topic for character in "+#\0"):
            raise ValueError(f"invalid topic {self.topic!r}; expected one topic without + and #, such as hall/accel")
        if self.password_file is not None and not self.username:
            raise ValueError("password_file needs username, the user that this password belongs to")


class PipeEnd:
    """One end of a pipe with the socket methods that paho calls.

    It replaces a socket of a pair, which a reader's sandbox does not allow.
    """

    def __init__(self, file: int, mode: str) -> None:
        os.set_blocking(file, False)
        self._file = FileIO(file, mode)

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._file.fileno()

    def recv(self, size: int) -> bytes:
        """Return the available bytes; raises `BlockingIOError` when there are none."""
        return os.read(self.fileno(), size)

    def send(self, data: bytes) -> int:
        """Write as much as fits; raises `BlockingIOError` when the pipe is full."""
        return os.write(self.fileno(), data)

    def close(self) -> None:
        """Close this end; may be called twice."""
        self._file.close()


def wake_up() -> tuple[PipeEnd, PipeEnd]:
    """Return the two ends of a pipe, the reading end first."""
    read, write = os.pipe()
    return PipeEnd(read, "r"), PipeEnd(write, "w")


class SensorClient(GuardedClient):
    """A client that only receives messages, of at most `LARGEST` bytes. ``heard`` is the queue of unread messages.

    A pipe replaces the sockets that wake up paho's loop. paho keeps these sockets in internal attributes; a test in a
    reader's sandbox detects if paho changes the attributes.
    """

    largest = LARGEST
    highest_qos = QOS

    def __init__(self) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False)
        self.connect_timeout = TIMEOUT
        self.heard: deque[bytes] = deque()
        self.refused = ""
        self.listening = False
        # paho would connect two sockets over a loopback port, which a reader's sandbox denies.
        self._sockpairR, self._sockpairW = wake_up()  # type: ignore[assignment]


class MqttSource(Closing):
    """One sample per message, or several in a list: JSON or CSV lines.

    Retained messages are old, so they are ignored.
    """

    gives: ClassVar[Gives] = "samples"
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = True
    network: bool = True
    lossless: bool = False
    room_seconds: ClassVar[float] = 5.0  # the connection buffers data; the broker disconnects after 22 s of silence
    patience: ClassVar[float] = math.inf  # a sensor may be silent; keep-alive detects a lost broker
    Options = MqttOptions

    def __init__(self, options: MqttOptions) -> None:
        self.faults = Faults()
        self._options = options
        self._where = f"{options.host}:{options.port or (8883 if options.tls else 1883)}"
        self._parser = RowParser(options.columns, "any")
        self._gatherer = RowGatherer(options.rate)
        self._client: SensorClient | None = None

    def __enter__(self) -> Self:
        options = self._options
        client = self._client = SensorClient()
        client.on_connect, client.on_subscribe, client.on_message = self._connected, self._subscribed, self._message
        try:
            if options.username is not None:
                file = options.password_file
                secret = source_password(file, options.username) if file else None
                client.username_pw_set(options.username, secret)
            if options.tls is not None:
                client.tls_set_context(tls_context(options.tls, "tls", SourceError))
            client.connect(options.host, int(self._where.rpartition(":")[2]), KEEPALIVE)
            self._wait_for_subscription(client)
        except (OSError, ValueError) as error:
            self.close()
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"the broker {self._where} cannot be reached: {self._why(error)}") from error
        return self

    def read(self) -> Block | None:
        """Return the rows of about 0.1 s; raises `SourceError` if the broker is gone or all messages are unusable."""
        while True:
            before = self.faults.count
            block = next_block(self, self._gatherer, self.faults, USELESS)
            if block is not None:
                return block
            if self.faults.count > before:
                raise SourceError(
                    f"no message on {self._options.topic} was usable for {USELESS:g} s "
                    f"({self.faults.since_good} so far); the last was {self.faults.last}"
                )

    def next(self, deadline: float) -> Sequence[Row | ValueError]:
        """Return the rows of the next message; a ValueError stands in place of each unusable row."""
        client = self._client
        if client is None:
            raise SourceError("not connected")
        if not client.heard:
            self._turn(client, min(deadline - time.monotonic(), 1.0))
        if not client.heard:
            return ()
        text = client.heard.popleft().decode("utf-8", "replace")
        return [row for line in self._lines(text) for row in self._parser.each(line)]

    def close(self) -> None:
        """Disconnect; may be called twice."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, ValueError):
                client.disconnect()
            if sock := client.socket():
                sock.close()

    def _lines(self, text: str) -> list[str]:
        """Split a message into lines, except JSON, which may contain line ends."""
        return [text] if text.lstrip()[:1] in ("[", "{") else text.splitlines()

    def _why(self, error: OSError | ValueError) -> str:
        """Return why the connection failed; with TLS, also the remedy."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"cannot verify its certificate ({error.verify_message}): for a private authority name its file in "
                "`tls: {ca_file: FILE}`; otherwise check the host and the clock of this device"
            )
        if isinstance(error, ssl.SSLError) and error.reason:
            return f"no TLS with it ({error.reason}): does it use TLS on this port?"
        if self._options.tls is not None and isinstance(error, (ssl.SSLError, ConnectionResetError)):
            return "it closes the connection: does it use TLS on this port, does it require a cert_file?"
        return unreachable(error)

    def _wait_for_subscription(self, client: SensorClient) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not client.listening:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SourceError(f"the broker {self._where} does not answer within {TIMEOUT:g} s")
            self._turn(client, min(left, 0.2))

    def _turn(self, client: SensorClient, timeout: float) -> None:
        """Let paho read and write once; raises `SourceError` when the connection failed."""
        code = client.loop(max(0.0, timeout))
        if client.refused:
            raise SourceError(client.refused)
        if client.too_long:
            raise SourceError(
                f"a message on {self._options.topic} has more than {LARGEST} bytes, too many for a sample"
            )
        if client.flood:
            raise SourceError(f"the broker {self._where} sends a flood of packets: {client.flood}")
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise SourceError(f"the broker {self._where} has closed the connection")

    def _connected(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            named = self._options.username is not None
            remedy = "check username and password" if named else "it may require username and password_file"
            client.refused = f"the broker {self._where} refuses the connection ({reason}): {remedy}"
        else:
            client.subscribe(self._options.topic, qos=QOS)

    def _subscribed(self, client: Any, _data: Any, _number: int, reasons: Any, _properties: Any) -> None:
        if not reasons or any(reason.is_failure for reason in reasons):
            client.refused = (
                f"the broker {self._where} refuses the subscription to {self._options.topic}: check its access rules"
            )
        client.listening = True

    def _message(self, client: Any, _data: Any, message: MQTTMessage) -> None:
        if not message.retain:
            client.heard.append(message.payload)
