"""The limit of a broker that does not report it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_infer.contract.codec import encode, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, ConfigStatus
from edge_infer.contract.topics import RULES, Place
from edge_infer.ipc.messages import Announce
from edge_infer.plan.records import Plan
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.mqtt.connection import MqttConnection
from edge_infer.publisher.mqtt.inflight_window import (
    ATTEMPTS,
    FIRST_FORGOTTEN_SECONDS,
    MAX_FORGOTTEN_SECONDS,
    MIN_LIMIT_BYTES,
    NO_LIMIT,
    REPEATED_SECONDS,
    PacketLimit,
)
from edge_infer.publisher.outbox.scheduler import OutboundScheduler, Outgoing, size_of
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.retained import Retained
from tests.broker import Broker, Subscriber
from tests.publisher import servers
from tests.publisher.room import Room
from tests.publisher.samples import TS, P, mqtt_plan, plan, result

LARGE, SMALL = 2900, 300
OBJECTS = 40
"""Objects of a result with more bytes than may be suspected."""


class Connections:
    """A limit and its clock, and connections that end."""

    def __init__(self) -> None:
        self.now = 100.0
        self.limit = PacketLimit(lambda: self.now)

    def end(self, *sizes: int, acked: int = SMALL) -> int | None:
        """One that the broker ended after an acknowledgement; 0 for none."""
        self.limit.begin()
        if acked:
            self.limit.acked(acked)
        return self.limit.ended(sizes)

    def last(self, *sizes: int) -> int | None:
        """One that lasts, and ends when larger messages are repeated."""
        self.limit.begin()
        self.limit.acked(SMALL)
        self.limit.lasted()
        return self.limit.ended(sizes) if sizes else None


def suspected() -> Connections:
    made = Connections()
    for _ in range(ATTEMPTS - 1):
        assert made.end(200, LARGE) is None
    assert made.limit.most == NO_LIMIT
    assert made.end(200, LARGE) == LARGE
    assert (made.limit.most, made.limit.known) == (LARGE - 1, NO_LIMIT), "larger ones wait, none is lost"
    return made


def known() -> Connections:
    made = suspected()
    made.last()
    assert made.limit.most == NO_LIMIT, "tried once more"
    assert made.limit.ended([LARGE]) == LARGE
    assert made.limit.most == made.limit.known == LARGE - 1
    return made


def test_a_message_without_which_a_connection_lasts_is_too_large() -> None:
    made = known()
    made.now += FIRST_FORGOTTEN_SECONDS
    assert made.limit.most == NO_LIMIT, "the limit may have been raised"


def test_a_limit_that_proves_right_is_kept_longer() -> None:
    made, kept = known(), FIRST_FORGOTTEN_SECONDS
    for _ in range(6):
        made.now += kept
        for _ in range(ATTEMPTS):
            made.end(LARGE)
        made.last(LARGE)
        kept = min(2 * kept, MAX_FORGOTTEN_SECONDS)
        made.now += kept - 1
        assert made.limit.known == LARGE - 1
        made.now -= kept - 1
    made.now += kept
    made.end(LARGE, acked=LARGE)
    assert made.limit.most == NO_LIMIT, "the broker accepts it now"


def test_each_smaller_size_needs_the_same_evidence() -> None:
    made = known()
    for _ in range(ATTEMPTS - 1):
        assert made.end(2000) is None
    assert made.limit.most == LARGE - 1
    assert made.end(2000) == 2000
    assert (made.limit.most, made.limit.known) == (1999, LARGE - 1)
    assert made.last(2000, 2500) == 2000
    assert made.limit.known == 1999


def test_smaller_sizes_are_found_while_a_limit_is_assumed() -> None:
    made = suspected()
    assert [made.end(2000) for _ in range(ATTEMPTS)] == [None, None, 2000]
    assert made.limit.most == 1999
    assert made.last(2000, LARGE) == 2000
    assert made.limit.known == 1999


def test_an_assumed_limit_that_does_not_help_is_dropped() -> None:
    """Another client has taken over the client id, or the broker ends every connection."""
    for acked in (SMALL, 0):
        made = suspected()
        assert made.end(200, acked=acked) is None
        assert made.limit.most == NO_LIMIT
        for _ in range(2 * ATTEMPTS):
            assert made.end(LARGE) is None
        made.now += FIRST_FORGOTTEN_SECONDS
        assert [made.end(LARGE) for _ in range(ATTEMPTS)] == [None, None, LARGE]


def test_connections_that_end_for_another_reason_teach_nothing() -> None:
    made = Connections()
    for sizes in ([2900], [], [500, 2900], [2901], [2902], [2903], [2904], [2904], [300], [2904]):
        assert made.end(*sizes) is None
    made = Connections()
    made.limit.acked(LARGE)
    assert [made.end(LARGE) for _ in range(ATTEMPTS)] == [None] * ATTEMPTS
    assert made.limit.most == NO_LIMIT


def test_a_limit_from_connections_without_an_acknowledgement_costs_nothing() -> None:
    made = Connections()
    for size in (LARGE, 65, 13):
        for _ in range(2 * ATTEMPTS):
            made.end(size, acked=0)
            assert made.limit.known == NO_LIMIT, "a larger message waits at most"
    assert made.limit.most == NO_LIMIT


def test_a_broker_whose_acknowledgements_are_cut_off_has_a_limit_too() -> None:
    """One that acknowledges later than it rejects a large message."""
    made = Connections()
    assert [made.end(200, LARGE, acked=0) for _ in range(ATTEMPTS)] == [None, None, LARGE]
    assert made.last(LARGE) == LARGE
    assert made.limit.known == LARGE - 1


def test_each_of_several_large_messages_is_found_without_an_acknowledgement() -> None:
    """A broker rejects a large message before it acknowledges anything, and later the next smaller one."""
    made = Connections()
    for size in (9000, 8500):
        assert [made.end(200, size, acked=0) for _ in range(ATTEMPTS)] == [None, None, size]
        assert (made.limit.most, made.limit.known) == (size - 1, NO_LIMIT)
    assert made.last(8500) == 8500


def test_without_acknowledgements_nothing_is_learned() -> None:
    """QoS 0: what has been written may be too large all the same."""
    for qos, found in ((0, None), (1, LARGE)):
        cargo = OutboundScheduler(Retained(), StoredOutbox(), Egress())
        connection = MqttConnection(mqtt_plan(1883, qos=qos), cargo)
        large = Outgoing(Place("state", "door"), b"x" * LARGE, None)
        connection._under_way[1] = (large, time.monotonic())
        assert [connection._limit_found() for _ in range(ATTEMPTS)] == [None, None, found and large.size]


def test_an_end_long_after_the_repeated_message_proves_nothing() -> None:
    for days in (0, 1):
        made = suspected()
        made.last()
        made.now += REPEATED_SECONDS if days else 0.0
        if not days:
            made.limit.begin()
            made.limit.acked(SMALL)
        assert made.limit.ended([5000]) is None, "another connection, or much later"
        assert made.limit.known == NO_LIMIT


def test_a_lower_limit_than_before_is_found() -> None:
    made = Connections()
    made.end(200, acked=LARGE)
    assert [made.end(LARGE) for _ in range(ATTEMPTS)] == [None] * ATTEMPTS
    made.now += MAX_FORGOTTEN_SECONDS + 1
    assert [made.end(LARGE) for _ in range(ATTEMPTS)] == [None, None, LARGE]


def test_the_end_of_one_connection_may_cut_off_its_acknowledgements() -> None:
    made = Connections()
    assert [made.end(LARGE, acked=acked) for acked in (0, SMALL, 0)] == [None, None, LARGE]


def test_no_message_of_a_usual_configuration_is_suspected() -> None:
    usual = [kind for kind, rule in RULES.items() if rule.limit == MAX_MESSAGE_BYTES]
    assert {"status", "state", "event", "result"} == set(usual)
    for kind in usual:
        assert size_of(Place(kind, "n" * 64), b"x" * MAX_MESSAGE_BYTES) <= MIN_LIMIT_BYTES
    made = Connections()
    assert [made.end(MIN_LIMIT_BYTES) for _ in range(2 * ATTEMPTS)] == [None] * 2 * ATTEMPTS


def roomy(port: int) -> Plan:
    """A plan whose results may be large."""
    made = plan(mqtt_plan(port))
    return replace(made, pipelines=tuple(replace(each, max_payload=8192) for each in made.pipelines))


def outbox(room: Room) -> Any:
    assert room.report
    return room.report.outbox


def ending(port: int, begun: Event, times: int, acks: int) -> Callable[[servers.socket.socket, servers.Server], None]:
    """Knows only MQTT 3.1.1. So many connections end after as many acknowledged messages; later ones are passed on."""
    left = times

    def serve(connection: servers.socket.socket, server: servers.Server) -> None:
        nonlocal left
        begin = connection.recv(65536)
        if not begun.is_set() or begin[begin.index(b"MQTT") + 4] != 4:
            return
        if left <= 0:
            servers.pass_on(begin, connection, port, server)
            return
        connection.sendall(b"\x20\x02\x00\x00")
        for _ in range(acks):
            number = _published(connection)
            connection.sendall(b"\x40\x02" + number)
        if (first := connection.recv(1)) != b"\xe0":  # DISCONNECT: the version was only tried
            left -= bool(first)
            connection.settimeout(0.3)  # what else is in flight
            while connection.recv(65536):
                pass

    return serve


def _published(connection: servers.socket.socket) -> bytes:
    """Read a PUBLISH with QoS 1 and return its packet id."""
    if not (_read(connection, 1)[0] & 0xF0) == 0x30:
        raise OSError("another packet")
    length = shift = 0
    while True:
        byte = _read(connection, 1)[0]
        length, shift = length | (byte & 127) << shift, shift + 7
        if byte < 128:
            break
    body = _read(connection, length)
    topic = int.from_bytes(body[:2], "big")
    return body[2 + topic : 4 + topic]


def _read(connection: servers.socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("the client is gone")
        data += more
    return data


@pytest.mark.parametrize(("times", "acks"), [(5, 0), (3, 1), (4, 1)], ids=["at once", "three times", "four times"])
def test_a_broker_that_misbehaves_for_a_while_costs_no_message(
    broker: Broker, room: Room, times: int, acks: int
) -> None:
    """It ends every connection, whatever is sent. So it is when another client takes over the client id."""
    begun, topic = Event(), f"{P}/door/result"
    with servers.Server(ending(broker.port, begun, times, acks)) as server, Subscriber(broker.port) as subscriber:
        room.start(roomy(server.port))
        room.wait(lambda: room.hellos, "greeting")
        for seq in range(1, 9):
            room.hand_over(result(seq, objects=OBJECTS if seq == 4 else 1 + seq % 3))
        room.wait(lambda: room.report and outbox(room).pending == 8, "messages that wait")
        begun.set()
        room.wait(lambda: room.report and outbox(room).pending == 0, "an end of waiting", 120.0)
        assert (outbox(room).delivered, outbox(room).lost) == (8, {})
        assert {each.value["seq"] for each in subscriber.first(8, topic)} == set(range(1, 9))


def test_a_broker_of_mqtt_3_that_takes_only_small_packets(tmp_path: Path, room: Room) -> None:
    """It ends the connection at a larger one, and says nothing."""
    with ExitStack() as stack:
        small = stack.enter_context(Broker(tmp_path, "max_packet_size 1500"))
        server = stack.enter_context(servers.Server(servers.old(small.port, b"")))
        subscriber = stack.enter_context(Subscriber(small.port))
        room.start(roomy(server.port))
        room.wait_connected()
        for number in (1, 2, 3):
            room.hand_over(result(number, objects=OBJECTS if number == 2 else 1))
        room.wait(lambda: "larger ones wait" in room.log(), "assumed limit")
        assert outbox(room).lost == {}
        room.wait(lambda: room.report and outbox(room).lost == {"too_large": 1}, "counted loss", 60.0)
        subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 3)
        assert "closed the connection at a message of" in room.log()
        room.wait_connected()
        before = server.accepted
        for number in (4, 5):
            room.hand_over(result(number, objects=OBJECTS if number == 4 else 1))
        subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 5)
        assert server.accepted <= before + 1, "its size is known, a little less (without `replay`) is tried once"


def test_a_large_value_waits_until_the_broker_accepts_it(tmp_path: Path, room: Room) -> None:
    """Nothing else waits for it."""
    large = ConfigStatus("rejected", "0" * 64, TS, tuple(f"{number}: {'x' * 400}" for number in range(10)))
    with ExitStack() as stack:
        small = stack.enter_context(Broker(tmp_path, "max_packet_size 1500"))
        server = stack.enter_context(servers.Server(servers.old(small.port, b"")))
        subscriber = stack.enter_context(Subscriber(small.port))
        room.start(plan(mqtt_plan(server.port)))
        room.tell(Announce("config", encode(large)))
        room.wait(lambda: "larger ones wait" in room.log(), "assumed limit")
        room.hand_over(result(1))
        subscriber.wait(f"{P}/door/result")
        room.wait(lambda: "seems to accept only smaller ones" in room.log(), "known limit")
        room.hand_over(result(2))
        subscriber.first(2, f"{P}/door/result")
        assert not subscriber.on(f"{P}/config")
        assert outbox(room).lost == {}
