"""Samples from a real broker, read by a real reader that may use the network."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples
from edge_infer.plan.records import TlsPlan
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.mqtt import LARGEST, MqttOptions, MqttSource
from tests.broker import Broker, Certificates, free_port
from tests.publisher import servers
from tests.readers.rig import StreamRig, make_plan

TOPIC = "hall/accel"
Say = Callable[..., None]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    with Broker(tmp_path / "broker", "persistence false") as running:
        yield running


@pytest.fixture
def say(broker: Broker) -> Iterator[Say]:
    """Publishes to the topic and waits until the broker has it."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def publish(payload: str | bytes, *, retain: bool = False) -> None:
        client.publish(TOPIC, payload, qos=1, retain=retain).wait_for_publish(10.0)

    yield publish
    client.disconnect()
    client.loop_stop()


def source(broker: Broker, *columns: str, **options: object) -> MqttSource:
    return MqttSource(MqttOptions(TOPIC, port=broker.port, columns=columns, **{("rate"): 50.0, **options}))  # type: ignore[arg-type]


def rows_of(opened: MqttSource, number: int) -> list[list[float]]:
    found: list[list[float]] = []
    while len(found) < number:
        block = opened.read()
        assert block is not None
        found += block.values.tolist()
    return found


def test_objects_lists_numbers_and_lines(broker: Broker, say: Say) -> None:
    with source(broker, "x", "a.y") as opened:
        say(json.dumps({"x": 1, "a": {"y": 2}, "battery": 97}))
        say("[3, 4]")
        say("[[5, 6], [7, 8]]")
        say("9,10\n11,12\n")
        assert rows_of(opened, 6) == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]
    opened.close()


def test_what_cannot_be_used_is_left_out_and_old_values_are_not_taken(broker: Broker, say: Say) -> None:
    say("99", retain=True)
    with source(broker, "t") as opened:
        for payload in ("1", '{"t": "warm"}', b"\xff\xfe", "", "{}", "2"):
            say(payload)
        assert rows_of(opened, 2) == [[1], [2]]
        assert opened.faults.count == 3  # an empty message is no row, and no fault


def test_a_row_that_cannot_be_used_costs_no_other_row_of_its_message(broker: Broker, say: Say) -> None:
    with source(broker, "t") as opened:
        for payload in (
            "[[1], [null], [2]]", "3\nwarm\n4\n", '[{"t": 5}, {"u": 6}, {"t": 7}]', "[[8], [9, 10]]",
            '[[11], null, "x", [12]]', "[13, 14, null, 15]",
        ):  # fmt: skip
            say(payload)
        assert rows_of(opened, 12) == [[number] for number in (1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 14, 15)]
        assert opened.faults.count == 7


def test_an_empty_list_is_no_row(broker: Broker, say: Say) -> None:
    with source(broker) as opened:
        for payload in ("[]", "[[], [1, 2]]", "[3, 4]"):
            say(payload)
        assert rows_of(opened, 2) == [[1, 2], [3, 4]]
        assert opened.faults.count == 2


def test_the_number_of_useless_messages_grows_while_nothing_good_comes(
    broker: Broker, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_infer.readers.sources.mqtt.USELESS", 0.5)
    before = Faults(quiet=True)
    for opening in range(1, 4):
        with source(broker, "t") as opened:
            opened.faults.resume(before)
            say('{"t": "warm"}')
            with pytest.raises(SourceError, match=rf"\({opening} so far\)"):
                opened.read()
            before = opened.faults


def test_a_broker_that_is_not_there_or_goes_says_so(broker: Broker) -> None:
    with pytest.raises(SourceError, match=r"the broker 127.0.0.1:\d+ cannot be reached: nothing listens there"):
        MqttSource(MqttOptions(TOPIC, port=free_port())).__enter__()
    with source(broker) as opened:
        broker.stop(signal.SIGKILL)
        with pytest.raises(SourceError, match="has closed the connection"):
            opened.read()


def test_a_message_that_is_no_sample_takes_no_memory(broker: Broker, say: Say) -> None:
    with source(broker) as opened:
        say(b"1" * (LARGEST + 100))
        with pytest.raises(SourceError, match="more than 262144 bytes"):
            opened.read()


def test_user_and_password(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("sensor:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", users], check=True)
    users.chmod(0o600)
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    with Broker(tmp_path, f"password_file {users}") as broker:
        with source(broker, username="sensor", password_file=str(secret)):
            pass
        with pytest.raises(SourceError, match="may require username and password_file"):
            source(broker).__enter__()
        secret.write_text("wrong\n")
        with pytest.raises(SourceError, match="check username and password"):
            source(broker, username="sensor", password_file=str(secret)).__enter__()


def test_a_message_that_repeats_the_password_is_told_without_it(
    broker: Broker, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_infer.readers.sources.mqtt.USELESS", 0.5)
    (tmp_path / "secret").write_text("Geheim-7890")
    with source(broker, "t", username="sensor", password_file=str(tmp_path / "secret")) as opened:
        say('{"login geheim-7890')
        with pytest.raises(SourceError, match=r"no JSON: '\{\"login \{password\}'"):
            opened.read()


def test_an_encrypted_connection(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    cert, key = certificates.issue("broker", "IP:127.0.0.1")
    with Broker(tmp_path, f"certfile {cert}", f"keyfile {key}") as broker:
        with MqttSource(MqttOptions(TOPIC, port=broker.port, tls=TlsPlan(str(certificates.ca)))):
            pass
        other = {"ca_file": str(certificates.other_authority())}
        with StreamRig(make_plan("mqtt", {"topic": TOPIC, "port": broker.port, "tls": other}), tmp_path) as rig:
            told = rig.error("cannot verify its certificate")
            assert "for a private authority name its file in `tls: {ca_file: FILE}`" in told
            assert "_ssl.c" not in told
    with Broker(tmp_path) as plain:
        options = {"topic": TOPIC, "port": plain.port, "tls": {}}
        with StreamRig(make_plan("mqtt", options), tmp_path) as rig:
            assert "_ssl.c" not in rig.error("does it use TLS on this port")
    with pytest.raises(SourceError, match=r"^tls.ca_file /none cannot be used: No such file or directory$"):
        MqttSource(MqttOptions(TOPIC, port=1, tls=TlsPlan("/none"))).__enter__()


@pytest.mark.parametrize("topic", ["", "a/+", "#"])
def test_several_topics_are_no_signal(topic: str) -> None:
    with pytest.raises(ValueError, match=r"one topic without \+ and #"):
        MqttOptions(topic)


def test_a_reader_survives_a_restart_of_the_broker(broker: Broker, say: Say, tmp_path: Path) -> None:
    plan = make_plan("mqtt", {"topic": TOPIC, "port": broker.port, "rate": 50.0})
    with StreamRig(plan, tmp_path) as rig:

        def first() -> Samples:
            while (taken := rig.feed.next(rig.cursor, 0.1)) is None:  # the subscription may not be there yet
                with contextlib.suppress(RuntimeError):  # nor may ours be back
                    say("1")
            assert isinstance(taken, Samples)
            return taken

        assert first().gap
        broker.stop()
        rig.error("broker")
        while rig.feed.next(rig.cursor, 0.0) is not None:
            pass
        broker.start()
        assert first().gap


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"\x34\x06\x00\x01a\x00\x07\x31", "it sent a message with QoS 2, although this client subscribed with QoS 0"),
        (b"\x32\x06\x00\x01a\x00\x07\x31", "it sent a message with QoS 1, although this client subscribed with QoS 0"),
        (b"\xc0\x00", "it sent a packet of type 12, which brokers do not send to clients"),
    ],
    ids=["QoS 2", "QoS 1", "questions"],
)
def test_a_broker_that_sends_what_nobody_subscribed_to_is_told(packet: bytes, words: str) -> None:
    with servers.Server(servers.subscribed([packet] * 1000)) as server:
        options = MqttOptions("a", port=server.port, rate=50.0)
        with MqttSource(options) as opened:
            client = opened._client
            assert client is not None
            with pytest.raises(SourceError, match=f"sends a flood of packets: {words}"):
                opened.read()
        assert len(client._in_messages) + len(client._out_packet) < 3


def test_a_broker_that_grants_no_subscription_is_told() -> None:
    def serve(connection: socket.socket, server: servers.Server) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x02\x00\x00")
        connection.sendall(b"\x90\x02" + connection.recv(1024)[2:4])
        server.stopping.wait(20)

    with servers.Server(serve) as server, pytest.raises(SourceError, match="refuses the subscription to a"):
        MqttSource(MqttOptions("a", port=server.port)).__enter__()
