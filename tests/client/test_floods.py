"""A hostile broker, or a publisher that may write below one topic, takes no memory without end from a client."""

from __future__ import annotations

import socket
import tracemalloc
from itertools import chain, repeat

import pytest
from paho.mqtt.client import MQTTMessage

from edge_infer.client import Client, EventUpdate, ResultUpdate, StateUpdate, StatusUpdate, UnreadableUpdate
from edge_infer.client.events_view import EventsView
from edge_infer.client.heard_names import HeardNames
from edge_infer.client.message_numbers import ReceivedNumbers, Series
from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import Event
from edge_infer.errors import EdgeInferError
from tests.broker import eventually
from tests.publisher.samples import BOOT, TS, P, result
from tests.publisher.samples import state as sample
from tests.publisher.servers import Server, subscribed


def message(topic: str, payload: bytes, *, retain: bool = False) -> MQTTMessage:
    made = MQTTMessage(topic=topic.encode())
    made.payload, made.retain = payload, retain
    return made


def packet(topic: str, payload: bytes) -> bytes:
    """A short PUBLISH with QoS 0."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return b"\x30" + bytes([len(body) % 128 | 128, len(body) // 128]) + body


@pytest.mark.parametrize(
    ("flood", "words"),
    [
        (
            b"\x34\x06\x00\x01a\x00\x07\x31",
            "sends a flood of packets: it sent a message with QoS 2, although this client subscribed with QoS 1",
        ),
        (b"\xc0\x00", "sends a flood of packets: it sent a packet of type 12"),
    ],
    ids=["QoS 2", "questions"],
)
def test_what_nobody_asked_for_ends_the_connection(flood: bytes, words: str, caplog: pytest.LogCaptureFixture) -> None:
    with Server(subscribed([flood] * 1000)) as server, Client("127.0.0.1", server.port) as client:
        paho = client._paho
        assert paho is not None
        assert client.poll(1.0) == []
        assert client._paho is None
        assert len(paho._in_messages) + len(paho._out_packet) < 3
        assert client._backoff.failed(refused=True) >= 2.5, "a broker that floods is not asked again at once"
    assert words in caplog.text
    assert "mqtt." not in caplog.text


def test_looking_in_short_pieces_waits_for_the_pause_and_connects_again() -> None:
    """Such as those of `AsyncClient`: none of them is as long as the pause after a refusal."""
    packets = iter([b"\xc0\x00", packet(f"{P}/door/result", dumps(result(1)))])  # one for each connection

    def serve(connection: socket.socket, server: Server) -> None:
        subscribed([next(packets)])(connection, server)

    with Server(serve) as server, Client("127.0.0.1", server.port) as client:
        eventually(lambda: any(isinstance(each, ResultUpdate) for each in client.poll(0.1)), "result", 20)
        assert server.accepted == 2


def test_a_message_that_is_too_long_is_told_and_takes_no_memory() -> None:
    size = 20 << 20
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    topic = f"{P}/door/result".encode()
    head = b"\x30" + length + len(topic).to_bytes(2, "big") + topic
    rest = size - 2 - len(topic)
    part = b"x" * 65536
    pieces = chain([head], repeat(part, rest // len(part)), [part[: rest % len(part)]])
    after = packet(f"{P}/door/result", dumps(result(1)))
    with Server(subscribed(chain(pieces, [after]))) as server, Client("127.0.0.1", server.port) as client:
        tracemalloc.start()
        found = []
        for update in client.updates(20.0):
            found.append(update)
            if isinstance(update, ResultUpdate):
                break
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [type(update) for update in found] == [UnreadableUpdate, ResultUpdate], "the connection goes on"
    assert found[0] == UnreadableUpdate(f"{P}/door/result", "it has more than 16384 bytes")
    assert peak < 4 << 20


def test_a_subscription_without_an_answer_is_refused() -> None:
    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x02\x00\x00")
        connection.sendall(b"\x90\x02" + connection.recv(1024)[2:4])
        server.stopping.wait(10)

    with Server(serve) as server, pytest.raises(EdgeInferError, match=r"denies .* subscription to"):
        Client("127.0.0.1", server.port).__enter__()


def test_names_that_no_device_has_are_unreadable() -> None:
    client = Client("127.0.0.1", 1)
    for topic in (f"{P}/{'p' * 65}/state", f"{P}/a b/state", "edge-infer/ /status", f"{P}/model/-", f"{P}//result"):
        client._on_message(None, None, message(topic, dumps(sample(1))))  # type: ignore[arg-type]
    assert {type(update) for update in client.poll(0)} == {UnreadableUpdate}
    assert client.snapshots() == {}


def test_a_state_without_end_is_unreadable() -> None:
    client = Client("127.0.0.1", 1)
    long = dumps(sample(1))[:-1] + b',"later":"' + b"x" * 4096 + b'"}'
    client._on_message(None, None, message(f"{P}/door/state", long))  # type: ignore[arg-type]
    assert client.poll(0) == [UnreadableUpdate(f"{P}/door/state", "it has more than 4096 bytes")]


def test_pipelines_without_end_make_the_oldest_of_their_device_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.client.heard_names.MOST_OF_DEVICE", 3)
    client = Client("127.0.0.1", 1)
    client._standings.connected()
    for topic in ("gate-3/status", "evil/status"):
        client._on_message(None, None, message(f"edge-infer/{topic}", b"online"))  # type: ignore[arg-type]
    client._on_message(None, None, message(f"{P}/door/state", dumps(sample(1))))  # type: ignore[arg-type]
    for number in range(50):
        for kind, payload in (
            ("state", dumps(sample(1))), ("result", dumps(result(1))),
            ("event", dumps(Event(1, TS, BOOT, 1, "appear", id=1))),
        ):  # fmt: skip
            topic = f"edge-infer/evil/p{number}/{kind}"
            client._on_message(None, None, message(topic, payload))  # type: ignore[arg-type]
        client._on_message(None, None, message(f"edge-infer/evil/model/m{number}", b"{}"))  # type: ignore[arg-type]
    device = client._standings._devices["evil"]
    kept = {"p48", "p49"}
    assert device.pipelines | device.states.keys() | device.silent <= kept
    assert {name for _, name in device.times} <= kept
    assert {name for _, name in client._events._open} <= kept
    assert client.snapshot("evil").received <= 4
    assert client.forgotten == 97
    assert client.standing("gate-3", "door").why_not != "removed", "of another device"
    client.poll(0)
    client._on_message(None, None, message("edge-infer/evil/status", b"offline"))  # type: ignore[arg-type]
    assert [type(update) for update in client.poll(0)].count(StateUpdate) <= 3


def test_devices_without_end_make_the_one_silent_for_longest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.client.heard_names.MOST_DEVICES", 3)
    client = Client("127.0.0.1", 1)
    client._standings.connected()
    client._on_message(None, None, message(f"{P}/status", b"online"))  # type: ignore[arg-type]
    client._on_message(None, None, message(f"{P}/door/state", dumps(sample(1))))  # type: ignore[arg-type]
    client.poll(0)
    for number in range(20):
        client._on_message(None, None, message(f"edge-infer/d{number}/status", b"online"))  # type: ignore[arg-type]
    assert len(client._standings._devices) == len(client._online) == len(client.snapshots()) == 3
    found = client.poll(0)
    told = [update for update in found if not isinstance(update, StatusUpdate)]
    assert told == [StateUpdate("gate-3", "door", client.standing("gate-3", "door"))]
    assert client.standing("gate-3", "door").state is None
    assert not any(isinstance(update, EventUpdate) for update in found)


def test_the_device_with_the_most_names_loses_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.client.heard_names.MOST_IN_ALL", 10)
    names = HeardNames()
    names.hear("gate-3", "door")
    lost = [each for number in range(30) for each in names.hear("evil", f"p{number}")]
    assert lost == [("evil", f"p{number}") for number in range(21)]


def test_open_events_without_end_cost_the_device_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.client.events_view.MAX_OPEN_IN_ALL", 20)
    view = EventsView()
    begun = Event(1, TS, BOOT, 1, "appear", id=1)
    view.take("gate-3", "door", begun)
    for number in range(100):
        for each in range(4):
            view.take("evil", f"p{number}", Event(1, TS, BOOT, each + 1, "appear", id=each + 1))
    assert view.of("gate-3", "door") == (begun,)
    assert sum(map(len, view._open.values())) <= 20
    view.forget()
    assert (view._all, view._open, view._counts) == (0, {}, {})


def test_series_without_end_cost_the_device_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.client.message_numbers.MOST_SERIES", 10)
    numbers = ReceivedNumbers()
    ours = Series("gate-3", "door", "result", BOOT)
    numbers.take(ours, 1, replay=False)
    for number in range(100):
        numbers.take(Series("evil", f"p{number}", "result", BOOT), 1, replay=False)
    assert numbers.take(ours, 1, replay=False) is None, "a repetition is found"
