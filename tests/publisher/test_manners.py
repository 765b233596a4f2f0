"""How the connection behaves: on slow links, beside another of its name, with changed credentials, with odd brokers."""

from __future__ import annotations

import gc
import select
import signal
import socket
import time
import warnings
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_infer.contract.codec import dumps
from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import StateSnapshot
from edge_infer.plan.records import TlsPlan
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.mqtt.connection import MqttConnection, MqttTimeouts
from edge_infer.publisher.mqtt.connection_failure import ConnectionFailure
from edge_infer.publisher.mqtt.paho_client import Attempt, ConnectOptions, dial, hang_up
from edge_infer.publisher.mqtt.reconnect import (
    ASK_AGAIN_SECONDS,
    LOOK_EVERY,
    V5,
    V311,
    Backoff,
    ReconnectPolicy,
    SecretFiles,
    VersionChoice,
)
from edge_infer.publisher.outbox.scheduler import OutboundScheduler
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.retained import Retained
from edge_infer.publisher.timestamps import Clock
from tests.broker import Broker, Certificates, Subscriber, eventually
from tests.publisher import servers
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, P, mqtt_plan, plan, result, state
from tests.publisher.test_faults import passwords


def test_a_link_of_64_kbit_and_two_seconds(tmp_path: Path, room: Room) -> None:
    with (
        Broker(tmp_path, "max_inflight_messages 500") as broker,
        servers.Server(servers.slow(broker.port, 8000, 1.0)) as server,
        Subscriber(broker.port) as subscriber,
    ):
        room.start(plan(mqtt_plan(server.port)))
        room.wait_connected(20.0)
        for seq in range(1, 61):
            room.hand_over(result(seq))
        room.wait(lambda: room.acked.get(("door", BOOT, "result")) == 60, "acknowledgement of all", 40.0)
        heard = [one.value for one in subscriber.first(60, f"{P}/door/result")]
        assert [value["seq"] for value in heard] == list(range(1, 61))
        assert not any("replay" in value for value in heard), "nothing was sent twice"
        room.say(StateSnapshot("door", state(7)))
        subscriber.wait(f"{P}/door/state", lambda one: one.value["counts"] == {"face": 7})
        assert server.accepted == 1


def test_tls_over_a_slow_link(tmp_path: Path, room: Room) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("good")
    with (
        Broker(tmp_path, f"certfile {certificate}", f"keyfile {key}") as broker,
        servers.Server(servers.slow(broker.port, 8000, 2.0)) as server,
    ):
        room.start(plan(mqtt_plan(server.port, tls=TlsPlan(str(certificates.ca)))))
        room.wait_connected(40.0)
        assert server.accepted == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_devices_of_one_name_take_long_turns(broker: Broker, room: Room, version: str) -> None:
    """The other one is as patient as ours: what matters is that their quarrel becomes slow."""
    old = servers.old(broker.port, b"")
    with servers.Server(old) as server, Room() as other:
        port = broker.port if version == "5" else server.port
        for each in (room, other):
            each.start(plan(mqtt_plan(port)))

        def told() -> list[str]:
            other.listen()
            said = [*room.sentences, *other.sentences]
            return [text for text in said if "client id 'edge-infer-gate-3'" in text]

        assert "give each device its own" in room.wait(told, "word of a takeover", 40.0)[0]
        end = time.monotonic() + 5.0
        room.wait(lambda: time.monotonic() > end, "some more time together")
        takeovers = broker.log.read_text().count("already connected, closing old connection")
        assert 1 <= takeovers <= 12, "a quarrel of half a second each would be fifty"


def test_what_follows_a_takeover_waits_longer_and_is_not_soon_forgiven() -> None:
    judge = ReconnectPolicy(mqtt_plan(1883), Clock(), stable=10.0, settled=600.0)
    taken = ConnectionFailure("another took over", refused=True, taken=True)
    pauses = [judge.failed(taken, 20.0)[1] for _ in range(200)]
    assert max(pauses[:2]) <= 10.0
    assert 60.0 < max(pauses) <= 300.0
    assert judge.failed(ConnectionFailure("gone"), 700.0)[1] <= 0.5
    assert judge.failed(ConnectionFailure("gone"), None)[1] <= 1.0


def test_a_broker_that_is_started_again_and_again_is_no_takeover() -> None:
    judge = ReconnectPolicy(mqtt_plan(1883), Clock(), stable=10.0, settled=600.0)
    for _ in range(5):
        for lived in (0.5, 0.5, None):
            assert "client id" not in judge.failed(ConnectionFailure("gone"), lived)[0].text
    told = [judge.failed(ConnectionFailure("gone"), 0.5)[0].text for _ in range(3)]
    assert ["client id" in text for text in told] == [False, False, True]


def test_a_broker_of_mqtt_3_is_asked_for_5_again_after_an_hour() -> None:
    now = [0.0]
    versions = VersionChoice(lambda: now[0])

    def learn() -> None:
        versions.failed(ConnectionFailure("it supports only 3.1.1", refused=True, other_version=True))
        assert versions.version == V311
        assert versions.accepted()

    learn()
    now[0] += ASK_AGAIN_SECONDS - 1
    versions.failed(ConnectionFailure("gone"))
    assert versions.version == V311
    now[0] += 1
    versions.failed(ConnectionFailure("gone"))
    assert versions.version == V5
    learn()
    versions.failed(ConnectionFailure("gone"))
    assert versions.version == V311, "it has just been asked"


def test_an_idle_connection_to_a_frozen_broker_is_noticed(broker: Broker) -> None:
    """A ping that nobody answers; in the daemon after a minute, or 20 s after the first message."""
    link = MqttConnection(
        mqtt_plan(broker.port),
        OutboundScheduler(Retained(), StoredOutbox(), Egress()),
        MqttTimeouts(keepalive=1, acknowledging=60.0),
    )
    run(link, lambda: link.up, "connection")
    run(link, lambda: link._idle, "birth")
    broker.send(signal.SIGSTOP)
    run(link, lambda: not link.up, "end of the connection")
    assert "does not answer any more" in link.sentence
    broker.send(signal.SIGCONT)
    run(link, lambda: link.up, "new connection")
    link.close()


def test_a_farewell_to_a_frozen_broker_names_the_reason(broker: Broker) -> None:
    link = MqttConnection(
        mqtt_plan(broker.port), OutboundScheduler(Retained(), StoredOutbox(), Egress()), MqttTimeouts()
    )
    run(link, lambda: link._idle, "birth")
    broker.send(signal.SIGSTOP)
    assert not link.finish(time.monotonic() + 0.7)
    assert link.sentence == f"127.0.0.1:{broker.port} did not acknowledge the last messages in time"
    broker.send(signal.SIGCONT)


def test_acknowledgements_wait_while_few_messages_are_in_flight(broker: Broker) -> None:
    """Each would wake the process by itself. They are read with the next message, or soon after the last one."""
    pipelines = tuple(f"door{number}" for number in range(20))
    egress, retained = Egress(), Retained()
    egress.apply(plan(mqtt_plan(broker.port), pipelines))
    link = MqttConnection(mqtt_plan(broker.port), OutboundScheduler(retained, StoredOutbox(), egress))
    run(link, lambda: link._idle, "birth")
    assert link.files()[0], "an idle connection is watched, so that its end is noticed"
    for count, watched in ((1, False), (20, True)):
        for name in pipelines[:count]:
            retained.set(Place("state", name), dumps(state(count)))
        link.step([])
        assert bool(link.files()[0]) is watched
        assert watched or 0 < link.due() <= 0.125
        run(link, lambda: link._idle, "acknowledgement")
    link.close()


def run(link: MqttConnection, until: object, what: str) -> None:
    def step() -> bool:
        readable, writable = link.files()
        select.select(readable, writable, [], 0.05)
        link.step()
        return bool(until())  # type: ignore[operator]

    eventually(step, lambda: f"{what}; it says: {link.sentence}")


def test_a_changed_password_is_used_at_once_and_shown_when_wrong(tmp_path: Path, room: Room) -> None:
    secret = tmp_path / "mqtt.pass"
    secret.write_text("right\n")
    users = passwords(tmp_path, edge="right", viewer="x")
    with Broker(tmp_path, f"password_file {users}", "allow_anonymous false") as broker:
        room.start(plan(mqtt_plan(broker.port, username="edge", password_file=str(secret))))
        room.wait_connected()
        with Subscriber(broker.port, "viewer", "x") as subscriber:
            secret.write_text("mistyped\n")
            room.wait_told("not authorised")
            assert subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
            room.hand_over(result(1))
            secret.write_text("right\n")
            room.wait_connected()
            subscriber.wait(f"{P}/door/result")
    assert "mistyped" not in room.log()


def test_files_are_used_once_they_stand_still(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "mqtt.pass"
    files = SecretFiles(mqtt_plan(1883, password_file=str(file)), clock=lambda: now[0])
    answers = []
    for content in ("a", "ab", "abc", None, None, None):
        now[0] += LOOK_EVERY
        if content:
            file.write_text(content)
        answers.append(files.changed())
    assert answers == [False, False, False, True, True, True]
    files.used()
    now[0] += LOOK_EVERY
    assert not files.changed()
    file.unlink()
    assert [files.changed() for now[0] in (100.0, 110.0)] == [False, True]
    assert not SecretFiles(mqtt_plan(1883), clock=lambda: 1e9).changed()


def test_a_broker_that_knows_only_qos_0(tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path, "max_qos 0") as broker, Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.hand_over(result(1))
        room.wait_acked(1)
        subscriber.wait(f"{P}/door/result")
        room.kill()
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")


def test_no_more_is_under_way_than_the_broker_takes(room: Room) -> None:
    """A broker that acknowledges nothing and takes three messages at once."""
    seen: list[int] = []

    def serve(connection: servers.socket.socket, server: servers.Server) -> None:
        connection.recv(65536)
        connection.sendall(bytes([0x20, 6, 0, 0, 3, 0x21, 0, 3]))  # CONNACK with receive maximum 3
        received = b""
        connection.settimeout(0.2)
        while not server.stopping.is_set():
            try:
                received += connection.recv(65536)
            except TimeoutError:
                seen.append(packets(received))

    with servers.Server(serve) as server:
        room.start(plan(mqtt_plan(server.port), pipelines=("door", "yard", "hall", "attic", "shed")))
        room.wait(lambda: len(seen) > 5, "some silence")
        assert max(seen) == 3
        room.kill()


def packets(data: bytes) -> int:
    """How many MQTT packets of at most 127 bytes, or two bytes of length, follow each other."""
    count = 0
    while data:
        length, taken, shift = 0, 1, 0
        while True:
            byte = data[taken]
            length |= (byte & 127) << shift
            taken, shift = taken + 1, shift + 7
            if byte < 128:
                break
        data, count = data[taken + length :], count + 1
    return count


def test_failed_handshakes_leave_nothing_open(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("expired", "IP:127.0.0.1", "20200101000000Z", "20210101000000Z")
    with Broker(tmp_path, f"certfile {certificate}", f"keyfile {key}") as broker:
        wanted = mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))
        with warnings.catch_warnings():  # clients of other tests keep a pair of sockets until they are collected
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.disable()
        try:
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(5):
                attempt = Attempt(wanted, ConnectOptions())
                assert select.select([attempt.fileno()], [], [], 10)[0]
                assert isinstance(attempt.outcome(), OSError)
                attempt.close()
            assert len(list(Path("/proc/self/fd").iterdir())) <= before
        finally:
            gc.enable()


def test_the_broker_keeps_no_session(broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait_connected()
    room.kill()
    version = MQTTProtocolVersion.MQTTv5
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="edge-infer-gate-3", protocol=version)
    present: list[bool] = []
    client.on_connect = lambda _client, _data, flags, *_: present.append(flags.session_present)
    client.connect("127.0.0.1", broker.port, clean_start=False)
    client.loop_start()
    eventually(lambda: present, "answer")
    client.disconnect()
    client.loop_stop()
    assert present == [False]


def test_backoff_of_a_fleet_is_spread() -> None:
    """Full jitter: of a hundred devices whose broker died at one instant, no second sees half of the attempts."""
    fleet = [Backoff() for _ in range(100)]
    for _ in range(6):
        pauses = [device.failed() for device in fleet]
    assert max(sum(1 for pause in pauses if second <= pause < second + 1) for second in range(5)) < 50


def test_a_message_does_not_wait_until_the_one_before_is_acknowledged(broker: Broker) -> None:
    client = dial(mqtt_plan(broker.port), ConnectOptions())
    try:
        sock = client.socket()
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        hang_up(client)
