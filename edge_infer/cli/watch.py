"""``edge-infer watch``: print the messages of a broker in the terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_infer.cli.as_owner import act_as_owner_of, act_on
from edge_infer.cli.message_lines import Painter
from edge_infer.cli.output import as_json, say
from edge_infer.client import Client as Subscriber
from edge_infer.client import Snapshot
from edge_infer.contract.messages import timestamp
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.plan.records import MqttPlan, TlsPlan
from edge_infer.platform.mqtt_guard import GuardedClient
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.publisher.mqtt.connection_failure import explain, flooding, refusal, silent
from edge_infer.publisher.mqtt.paho_client import KEEPALIVE, equip

GREETING: Final = 10.0
"""Seconds to wait for an answer of the broker."""
QOS: Final = 1
MOST_PORT: Final = 65535
COMPLETE: Final = 120.0
"""Maximum seconds of ``--complete`` without ``--seconds``."""
STEP: Final = 0.2
"""Seconds between two checks whether all messages have arrived."""
AGAIN: Final = 1.0
"""Seconds between attempts to reconnect."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, help=f"use the broker of this file (default: {DEFAULT_CONFIG})")
    parser.add_argument("--host", help="use this broker instead of the configured one")
    parser.add_argument("--port", type=_port, help="default: 1883, 8883 with --ca-file")
    parser.add_argument("--username")
    parser.add_argument("--password-file", help="file with the password")
    parser.add_argument("--ca-file", help="connect with TLS and trust this authority")
    parser.add_argument("--topic", help="default: everything of the configured device, with --host edge-infer/#")
    parser.add_argument("--seconds", type=float, help="end after this time; exit code 1 if nothing was received")
    parser.add_argument("--json", action="store_true", help='print lines {"topic":…,"payload":…}')
    parser.add_argument(
        "--complete",
        action="store_true",
        help="check whether all retained messages of each device arrived, and end; exit code 1 if not",
    )
    parser.epilog = "example: edge-infer watch --host broker.lan --topic 'edge-infer/+/+/result'"


def run(args: argparse.Namespace) -> int:
    """Return 0 if a message was received or no time is set, else 1."""
    config = args.config or DEFAULT_CONFIG
    if args.host:
        act_as_owner_of(args, None)
    else:
        act_on(args, config)
    plan = _from_arguments(args) if args.host else _from_file(config)
    if args.complete:
        return _complete(args, plan)
    topic = args.topic or ("edge-infer/#" if args.host else f"{plan.topic}/#")
    watcher = Watcher(plan, topic, json_lines=args.json, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    watcher.watch(args.seconds)
    if args.seconds is not None and not watcher.received:
        say([_nothing(f"{topic} in {args.seconds:g} s", plan)], sys.stderr)
        return 1
    return 0


def _complete(args: argparse.Namespace, plan: MqttPlan) -> int:
    """Print the snapshot of the configured device, or of all devices; return 0 if all are complete."""
    if args.topic:
        raise ConfigError("--complete checks all topics of a device; remove --topic")
    prefix, _, device = plan.topic.rpartition("/")
    prefix, device = (plan.topic, "+") if args.host else (prefix, device)
    files = (plan.tls.ca_file, plan.tls.cert_file, plan.tls.key_file) if plan.tls else (None, None, None)
    with Subscriber(
        plan.host, plan.port, device=device, prefix=prefix, username=plan.username, password_file=plan.password_file,
        tls=plan.tls is not None, ca_file=files[0], cert_file=files[1], key_file=files[2],
    ) as client:  # fmt: skip
        end = time.monotonic() + (args.seconds if args.seconds is not None else COMPLETE)
        while not client.settled and time.monotonic() < end:
            for _ in client.updates(STEP):
                pass
        found, complete = client.snapshots(), client.complete
    if args.json:
        print(json.dumps({name: asdict(each) for name, each in found.items()}, separators=(",", ":")))
    else:
        say([_snapshot_line(name, each) for name, each in found.items()])
    if not found:
        say([_nothing(f"{prefix}/{device}/#", plan)], sys.stderr)
    return 0 if found and complete else 1


def _nothing(topic: str, plan: MqttPlan) -> str:
    """Return the line about a topic without messages. A broker does not report that its rules hide them."""
    who = f"user {plan.username!r}" if plan.username else "clients without a user name"
    return f"nothing was received on {topic}: nothing was published there, or the broker lets {who} read nothing there"


def _snapshot_line(device: str, snapshot: Snapshot) -> str:
    """Return a line about the retained topics of a device that a subscriber has received."""
    if snapshot.complete is None:
        why = "info has not arrived" if snapshot.missing else "its version does not report the number of topics"
        return f"{device}: {snapshot.received} topics, unknown whether complete ({why})"
    if snapshot.complete:
        return f"{device}: complete, {snapshot.received} topics"
    missing = ", ".join(snapshot.missing) or "other topics than it reports"
    return f"{device}: INCOMPLETE, {snapshot.received} of {snapshot.expected} topics; missing: {missing}"


class _WatchClient(GuardedClient):
    """Truncates messages of more than 1 MiB, because other publishers may send up to 256 MiB."""

    largest = 1 << 20
    highest_qos = QOS
    cuts = True


class Watcher:
    """Subscribes and prints messages until the time is over. It reports a lost connection and reconnects."""

    def __init__(self, plan: MqttPlan, topic: str, *, json_lines: bool, color: bool) -> None:
        self.received = 0
        self._plan = plan
        self._topic = topic
        self._json = json_lines
        self._painter = Painter(color=color)
        self._refused: EdgeInferError | None = None
        self._silent_at = 0.0

    def watch(self, seconds: float | None) -> None:
        """Print messages.

        Raises `EdgeInferError` if, at the start, the broker cannot be reached or refuses the connection.
        """
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        client = self._connect()
        try:
            while (left := end - time.monotonic()) > 0:
                if client.loop(min(left, 0.5)) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    if time.monotonic() > self._silent_at:
                        raise EdgeInferError(silent(self._plan).text)
                    continue
                if self._refused:
                    raise self._refused
                lost = flooding(self._plan, client.flood).text if client.flood else "the connection is lost"
                say([f"{lost}; retrying"], sys.stderr)
                client = self._connect_again(end) or client
        finally:
            client.disconnect()

    def _connect(self) -> _WatchClient:
        plan = self._plan
        client = _WatchClient(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False
        )
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        equip(client, plan)
        try:
            client.connect(plan.host, plan.port, KEEPALIVE)
        except OSError as error:
            if isinstance(error, EdgeInferError):
                raise
            raise EdgeInferError(explain(error, plan, timestamp(time.time())).text) from error
        self._silent_at = time.monotonic() + GREETING
        return client

    def _connect_again(self, end: float) -> _WatchClient | None:
        while time.monotonic() < end:
            time.sleep(min(AGAIN, max(0.0, end - time.monotonic())))
            try:
                return self._connect()
            except EdgeInferError as error:
                say([error], sys.stderr)
        return None

    def _on_connect(self, client: Client, _data: Any, _flags: ConnectFlags, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = EdgeInferError(refusal(reason.value, reason.getName(), self._plan).text)
            return
        self._silent_at = float("inf")
        client.subscribe(self._topic, qos=QOS)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.received += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(a topic that is not UTF-8)"
        print(self._line(topic, bytes(message.payload)), flush=True)

    def _line(self, topic: str, payload: bytes) -> str:
        if not self._json:
            return self._painter.line(topic, payload)
        try:
            return as_json({"topic": topic, "payload": _value(payload)}, separators=(",", ":"))
        except RecursionError:  # a value that could be read may be one level too deep to be written
            return as_json({"topic": topic, "payload": _text(payload)}, separators=(",", ":"))


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port between 1 and {MOST_PORT}, not {text!r}")
    return int(text)


def _value(payload: bytes) -> Any:
    """Return the JSON value, or the text of a payload that is not JSON.

    Return None for an empty payload, which clears a topic.
    """
    if not payload:
        return None
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return _text(payload)


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


def _from_arguments(args: argparse.Namespace) -> MqttPlan:
    if args.config:
        raise ConfigError("choose the broker with -c or with --host, not both")
    return MqttPlan(
        host=args.host,
        port=args.port or (8883 if args.ca_file else 1883),
        tls=TlsPlan(args.ca_file) if args.ca_file else None,
        username=args.username,
        password_file=args.password_file,
        topic="edge-infer",
        qos=1,
        client_id="",
    )


def _from_file(path: Path) -> MqttPlan:
    from edge_infer.config.compile.compile import connection

    return connection(path).mqtt
