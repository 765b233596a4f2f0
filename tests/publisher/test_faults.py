"""A broker that is away, refuses, denies, hangs, floods or is another one: told with the remedy, never 'connected'."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_infer.contract.codec import decode, encode
from edge_infer.contract.messages import ConfigStatus
from edge_infer.ipc.messages import Announce, Stop
from tests.broker import Broker, Subscriber, free_port
from tests.publisher import servers
from tests.publisher.room import Room
from tests.publisher.samples import TS, P, mqtt_plan, plan, result

CONNACK = bytes([0x20, 3, 0, 0, 0])


def passwords(folder: Path, **users: str) -> Path:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto is not installed")
    file = folder / "passwords"
    file.touch()
    for user, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", file, user, password], check=True, capture_output=True)
    return file


def processor_seconds(room: Room) -> float:
    assert room.process
    fields = Path(f"/proc/{room.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_broker_that_is_absent_at_the_start(tmp_path: Path, room: Room) -> None:
    port = free_port()
    room.start(plan(mqtt_plan(port)))
    room.wait_told("nothing listens on 127.0.0.1")
    with Broker(tmp_path, port=port), Subscriber(port) as subscriber:
        room.wait_connected()
        assert subscriber.wait(f"{P}/status").payload == b"online"


def test_wrong_credentials_and_a_changed_password_file(tmp_path: Path, room: Room) -> None:
    secret = tmp_path / "mqtt.pass"
    secret.write_text("wrong\n")
    users = passwords(tmp_path, edge="right", viewer="x")
    with Broker(tmp_path, f"password_file {users}", "allow_anonymous false") as broker:
        room.start(plan(mqtt_plan(broker.port, username="edge", password_file=str(secret))))
        told = room.wait_told("not authorised")
        assert "mqtt.password_file" in told
        assert "wrong" not in room.log()
        assert not any(text.startswith("connected to") for text in room.sentences)
        secret.write_text("right\n")
        room.wait_connected(20.0)


def test_a_missing_password_file_is_named(tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path) as broker:
        missing = tmp_path / "gone.pass"
        room.start(plan(mqtt_plan(broker.port, username="edge", password_file=str(missing))))
        assert str(missing) in room.wait_told("cannot be read")


def test_a_denied_topic_waits_and_the_others_go_on(tmp_path: Path, room: Room) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic read #\ntopic write {P}/status\ntopic write {P}/+/state\ntopic write {P}/health\n")
    with Broker(tmp_path, f"acl_file {rules}") as broker, Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.hand_over(result(1))
        room.hand_over(result(2))
        told = room.wait_told("denies")
        assert f"allow publishing to {P}/# in its access rules" in told
        room.wait(lambda: room.report and not room.report.connected, "report that not all is well")
        assert room.report
        assert room.report.outbox.pending == 2
        rules.write_text("topic readwrite #\n")
        broker.send(signal.SIGHUP)
        room.wait_acked(2)
        came = {heard.value["seq"]: heard.value for heard in subscriber.first(2, f"{P}/door/result")}
        assert sorted(came) == [1, 2]  # the second may have waited for the refusal of the first: then it goes first
        assert came[1]["replay"] is True
        room.wait_connected()


def test_a_broker_that_takes_only_small_packets(tmp_path: Path, room: Room) -> None:
    errors = tuple(f"{number}: {'x' * 400}" for number in range(10))
    large = ConfigStatus("rejected", "0" * 64, TS, errors)
    with Broker(tmp_path, "max_packet_size 400") as small:
        with Subscriber(small.port) as subscriber:
            room.start(plan(mqtt_plan(small.port)))
            room.tell(Announce("config", encode(large)))
            room.wait_connected()
            assert subscriber.wait(f"{P}/status").payload == b"online"
            room.hand_over(result(1))
            room.hand_over(result(2, objects=8))
            room.wait_acked(2)
            room.wait(lambda: room.report and room.report.outbox.lost == {"too_large": 1}, "counted loss")
            subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 1)
            assert len(subscriber.first(1, f"{P}/door/result")) == 1
            assert not subscriber.on(f"{P}/config")
            held = ", but …/config is not sent: it exceeds the broker's limit by "
            room.wait(lambda: room.report and held in room.report.broker, "the status names it")
        assert "max_packet_size" in room.log()
    with Broker(tmp_path, port=small.port), Subscriber(small.port) as subscriber:  # its operator has read that
        assert decode(ConfigStatus, subscriber.wait(f"{P}/config").value) == large


@pytest.mark.parametrize(
    ("serve", "sentence"),
    [
        (servers.silent, "sends nothing"),
        (servers.closing, "without an answer: is it an MQTT broker, or does it need mqtt.tls"),
        (servers.repeating(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, b"x" * 1000), "failed|floods|without an answer"),
        (
            servers.repeating(CONNACK, bytes([0x30, 6, 0, 1, 0x61, 0, 0x62, 0x63])),
            "sends a flood of packets: it sent messages",
        ),
        (
            servers.repeating(CONNACK, bytes([0x34, 8, 0, 1, 0x61, 0, 1, 0, 0x62, 0x63])),
            "sends a flood of packets: it sent messages",
        ),
        (
            servers.repeating(CONNACK, bytes([0x30, 0xFF, 0xFF, 0xFF, 0x7F]) + b"x" * 65536),
            "sends a flood of packets: it sent a packet",
        ),
        (servers.repeating(CONNACK, bytes([0xD0, 0]) * 10_000), "sends a flood of unrequested packets"),
        (servers.repeating(CONNACK, CONNACK), "it answered the same connection twice"),
    ],
    ids=[
        "silent",
        "closing",
        "web server",
        "messages",
        "messages qos 2",
        "huge packet",
        "answers to nothing",
        "answered twice",
    ],
)
def test_what_is_no_broker(serve: Callable[..., None], sentence: str, room: Room) -> None:
    with servers.Server(serve) as server:
        room.start(plan(mqtt_plan(server.port)))
        parts = sentence.split("|")
        room.wait(lambda: any(part in text for part in parts for text in room.sentences), f"sentence like {sentence}")
        before, started = processor_seconds(room), time.monotonic()
        room.wait(lambda: time.monotonic() - started > 2, "two seconds")
        assert processor_seconds(room) - before < 1.0, "a busy loop"
        assert server.accepted < 30
        assert room.stop() == 0


@pytest.mark.parametrize("refusal", [bytes([0x20, 2, 0, 1]), b""], ids=["refuses", "closes"])
def test_a_broker_that_knows_only_mqtt_3(broker: Broker, room: Room, refusal: bytes) -> None:
    with servers.Server(servers.old(broker.port, refusal)) as server, Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(server.port)))
        assert "MQTT 3.1.1" in room.wait_told("connected to")
        room.hand_over(result(1))
        room.wait_acked(1)
        subscriber.wait(f"{P}/door/result")
        assert room.stop() == 0
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")


@pytest.mark.parametrize("closes", [1, 2])
def test_a_broker_behind_a_forwarder_is_not_taken_for_an_old_one(broker: Broker, room: Room, closes: int) -> None:
    """While the broker is away, the forwarder accepts connections and closes them, as an old broker does."""
    with (
        servers.Server(servers.forwarding(broker.port, closes)) as server,
        Subscriber(broker.port) as subscriber,
    ):
        room.start(plan(mqtt_plan(server.port)))
        assert "MQTT 5" in room.wait_told("connected to")
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"online")
        assert [heard.payload for heard in subscriber.on(f"{P}/status")] == [b"online"], "no will was published"


def test_a_broker_that_hangs_in_mid_flight(broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait_connected()
    broker.send(signal.SIGSTOP)
    room.hand_over(result(1))
    room.wait(lambda: room.hellos, "greeting")
    room.wait_told("has acknowledged no message", 40.0)
    broker.send(signal.SIGCONT)
    room.wait_acked(1)


def test_a_stop_while_the_broker_hangs_is_quick(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.wait(lambda: room.hellos, "greeting")
        broker.send(signal.SIGSTOP)
        room.hand_over(result(1))
        assert room.process
        room.tell(Stop())
        assert room.process.wait(3.0) == 0
        broker.send(signal.SIGCONT)
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")


def test_another_client_with_the_same_id_is_told(broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait_connected()
    other = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="edge-infer-gate-3", protocol=MQTTProtocolVersion.MQTTv5)
    other.connect("127.0.0.1", broker.port)
    other.loop_start()
    try:
        told = room.wait_told("client id 'edge-infer-gate-3'")  # not every broker gives the reason; then it is a guess
        assert "give each device its own" in told
    finally:
        other.disconnect()
        other.loop_stop()
    room.wait_connected(20.0)


def test_an_unknown_name_is_told(room: Room) -> None:
    room.start(plan(mqtt_plan(1883, host="broker.invalid")))
    room.wait_told("cannot resolve the name 'broker.invalid'")
