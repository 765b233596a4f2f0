"""An engine that somebody has taken over, and strangers at the broker: nothing of theirs is taken, nobody ends.

The first says to the publisher whatever fits into a packet; the others fill the topics of the device.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.contract.codec import dumps, encode
from edge_infer.contract.messages import Event
from edge_infer.ipc.channel import PACKET, pack
from edge_infer.ipc.messages import Acked, EngineHello, EngineUp, PublisherHello, StateSnapshot, Stop, handover
from edge_infer.platform.clock import new_boot
from tests.broker import Broker, Subscriber, eventually
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, mqtt_plan, plan, result, state

SECRET = "aW1hZ2Ugb2YgYSBwZXJzb24"
"""Stands in everything that is said, and nowhere else: what of it is on the broker was let through."""
BATCH = 50
WHOLE, FIRST, MIDDLE, LAST = (bytes([mark]) for mark in range(4))

Make = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Hostility:
    """What came of it."""

    where: str
    sent: int
    accepted: int
    exits: int
    rejected: int
    files: int

    @property
    def kept(self) -> bool:
        """Nothing was taken, nobody ended, nothing stays open."""
        return self.accepted == self.exits == 0 and self.files <= 0

    def __str__(self) -> str:
        return (
            f"{self.where:28} {self.sent:6} sent  {self.accepted} accepted  {self.exits} exits  "
            f"{self.rejected} counted as rejected  {self.files:+d} open files"
        )


def _said(draw: random.Random) -> dict[str, Any]:
    """A result as an honest engine says it, to be spoilt."""
    said = encode(result(draw.randrange(1, 1 << 30), objects=2))
    assert isinstance(said, dict)
    return said


def _handover(message: Any, pipeline: str = "door") -> bytes:
    return dumps_any({"Handover": {"pipeline": pipeline, "message": message}})


def dumps_any(value: Any) -> bytes:
    """JSON with whatever Python's own module lets through: NaN, infinity, lone surrogates."""
    import json

    return json.dumps(value).encode()


def spoilt(draw: random.Random) -> bytes:
    """A result with one thing wrong."""
    said = _said(draw)
    deep: Any = SECRET
    for _ in range(50):
        deep = [deep]
    spoils: list[tuple[str, Any]] = [
        ("v", 2), ("v", True), ("ts", SECRET), ("ts", "2026-99-99T99:99:99.999Z"), ("ts", 5), ("boot", SECRET),
        ("boot", ""), ("seq", 0), ("seq", -1), ("seq", 1 << 60), ("seq", 1.5), ("seq", "1"), ("model", SECRET),
        ("model", SECRET * 100), ("sha", "00000000"), ("sha", SECRET), ("task", SECRET), ("task", "classification"),
        ("ms", float("nan")), ("ms", float("inf")), ("ms", -1), ("ms", 1.23456789), ("ms", 1e300),
        ("objects", SECRET), ("objects", deep), ("objects", {}), ("objects", None), ("objects", [SECRET]),
        ("objects", [{"label": SECRET, "score": 0.5, "box": [0, 0, 1, 1]}]),
        ("objects", [{"label": "face", "score": 0.123456789, "box": [0, 0, 1, 1]}]),
        ("objects", [{"label": "face", "score": 5, "box": [0, 0, 1, 1]}]),
        ("objects", [{"label": "face", "score": 0.5, "box": [0, 0, 1, draw.random() / 7]}]),
        ("objects", [{"label": "face", "score": 0.5, "box": [0, 0, 1]}]),
        ("objects", [{"label": "face", "score": 0.5, "box": [0, 0, 1, 1], "note": SECRET}]),
        ("objects", [{"label": "face\ud800", "score": 0.5, "box": [0, 0, 1, 1]}]),
        ("objects", [{"label": "face", "score": 0.5, "box": [0, 0, 1, 1]}] * draw.choice((40, 1001))),
        ("poses", [{"score": 0.5, "points": []}]), ("values", [{"name": SECRET, "value": 1.0, "unit": SECRET}]),
        ("more", SECRET), ("clock", SECRET), ("replay", SECRET), ("image", SECRET), (SECRET, SECRET),
    ]  # fmt: skip
    key, value = draw.choice(spoils)
    return _handover({**said, key: value})


def misdirected(draw: random.Random) -> bytes:
    """A sound message where it does not belong."""
    event = Event(1, TS, BOOT, draw.randrange(1, 1 << 30), "appear", label=SECRET)
    records = [
        handover(draw.choice((SECRET, "status", "yard")), result(draw.randrange(1, 1 << 30))),
        handover("door", event),
        handover("door", result(draw.randrange(1, 1 << 30)), -1.0),
        StateSnapshot(SECRET, state(1)),
        Acked("door", BOOT, "result", 5),
        PublisherHello(),
        Stop(),
    ]
    made = dumps(draw.choice(records[:4])) if draw.random() < 0.3 else pack(draw.choice(records))
    return made if made[:2] != b'{"' or draw.random() < 0.9 else made[:-1]


def orders(draw: random.Random) -> bytes:
    """What only the supervisor may say."""
    return dumps_any(
        draw.choice(
            (
                {"ApplyPlan": {"plan": {"mqtt": {"host": SECRET}}}},
                {"Announce": {"topic": "info", "payload": {"board": SECRET}}},
                {"EngineDown": {"reason": "stopped"}},
                {"EngineReport": {"boot": BOOT}},
                {"Stop": {}, "Handover": {}},
                {"__import__": SECRET},
                {},
                [],
                None,
            )
        )
    )


def noise(draw: random.Random) -> bytes:
    """Bytes, texts of other codes, numbers without end, brackets without end."""
    deep = draw.choice((1000, 20_000))
    return draw.choice(
        (
            lambda: draw.randbytes(draw.choice((0, 1, 100, PACKET - 1))),
            lambda: b"\xef\xbb\xbf" + dumps({"Stop": {}}),
            lambda: '{"Stop":{}}'.encode(draw.choice(("utf-16", "utf-32"))),
            lambda: b"[" * deep + b"]" * deep,
            lambda: b'{"a":' * deep + b"1" + b"}" * deep,
            lambda: b'{"Handover":' + b"9" * 50_000 + b"}",
            lambda: b'{"Handover":{"pipeline":"door","pipeline":"' + SECRET.encode() + b'","message":1e999}}',
            lambda: b'{"StateUpdate":"' + b"\xff" * 100 + b'"}',
        )
    )()


def packets(draw: random.Random) -> Iterator[bytes]:
    """One hostile message, in the packets that carry it."""
    data = draw.choice((spoilt, spoilt, misdirected, orders, noise))(draw)
    form = draw.random()
    if form < 0.8:
        yield WHOLE + data[: PACKET - 1]
    elif form < 0.85:
        yield draw.choice((MIDDLE, LAST, b"\x07", b"\xff")) + data[: PACKET - 1]
    elif form < 0.9:
        yield FIRST + data[: PACKET - 1]  # and never an end
    elif form < 0.99:
        yield FIRST + data[: PACKET // 2]
        yield LAST + data[PACKET // 2 : PACKET]
    else:  # more than a record may be
        yield FIRST + b'{"Handover":"'
        for _ in range((17 << 20) // PACKET if form > 0.999 else 20):
            yield MIDDLE + SECRET.encode() * ((PACKET - 1) // len(SECRET))
        yield LAST + b'"}'


def an_engine_taken_over(folder: Path, repeat: int) -> Hostility:
    """Says ``repeat`` hostile messages to the publisher, files attached now and then."""
    draw, exits = random.Random(repeat), 0
    folder.mkdir()
    with Broker(folder) as broker, Subscriber(broker.port) as subscriber, Room() as room:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.wait(lambda: room.hellos, "greeting")
        mine = new_boot()
        room.tell(EngineUp(mine))
        honest = iter(range(1, 1 << 20))
        with socket.socket(fileno=os.dup(room.engine.fd)) as end, (folder / "open").open("wb") as file:
            before = 0
            for number in range(repeat):
                for packet in packets(draw):
                    _say(end, packet, [file.fileno()] * draw.choice((0, 0, 0, 1, 4, 9)), room)
                if number % BATCH == BATCH - 1 or number == repeat - 1:
                    exits += _is_gone(room)
                    _say(end, WHOLE + pack(EngineHello(mine)), [], room)
                    seq = next(honest)
                    _say(end, WHOLE + pack(handover("door", result(seq, boot=mine))), [], room)
                    room.wait_acked(seq, boot=mine)
                    before = before or _open_files(room)
            files = _open_files(room) - before
        honest_ones = [one for one in subscriber.on(f"{P}/door/result") if one.value["boot"] == mine]
        others = [one for one in subscriber.on(f"{P}/door/result") if one.value["boot"] != mine]
        events = [one for one in subscriber.heard if one.topic.endswith("/event")]
        leaks = [one for one in subscriber.heard if SECRET.encode() in one.payload or SECRET in one.topic]
        assert len(honest_ones) == next(honest) - 1, "what is honest goes through between"
        room.report = None
        rejected = room.wait(lambda: room.report, "report").egress.rejected
        assert room.stop() == 0
        assert SECRET not in "".join(room.sentences)
    return Hostility("engine to publisher", repeat, len(others) + len(events) + len(leaks), exits, rejected, files)


def _say(end: socket.socket, packet: bytes, files: list[int], room: Room) -> None:
    """As the engine's end of the channel; waits for room, because all of it is to arrive."""
    while True:
        try:
            socket.send_fds(end, [packet], files)
        except BlockingIOError:
            room.listen()
            time.sleep(0.002)
        else:
            return


def _is_gone(room: Room) -> int:
    assert room.process
    return int(room.process.poll() is not None)


def _open_files(room: Room) -> int:
    assert room.process
    return len(list(Path(f"/proc/{room.process.pid}/fd").iterdir()))


def strangers_on_its_topics(folder: Path, repeat: int) -> Hostility:
    """Publish ``repeat`` messages on the topics of the device; it hears none, and says its own again."""
    draw, exits = random.Random(repeat), 0
    folder.mkdir()
    topics = [f"{P}/{name}" for name in ("status", "info", "config", "health", "model/faces", "door/state")]
    topics += [f"{P}/door/result", f"{P}/door/event", f"{P}/command", f"{P}/door/set", f"homeassistant/device/{SECRET}"]
    with Broker(folder) as broker, Room() as room:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.wait(lambda: room.hellos, "greeting")
        stranger = mqtt.Client(CallbackAPIVersion.VERSION2)
        stranger.max_inflight_messages_set(100)
        stranger.connect("127.0.0.1", broker.port)
        stranger.loop_start()
        before = _open_files(room)
        for number in range(repeat):
            garbage = draw.choice((spoilt, misdirected, orders, noise))(draw)
            if draw.random() < 0.01:
                garbage = SECRET.encode() * 40_000
            word = stranger.publish(draw.choice(topics), garbage, qos=1, retain=draw.random() < 0.5)
            if number % BATCH == BATCH - 1 or number == repeat - 1:
                word.wait_for_publish(30)
                exits += _is_gone(room)
        room.hand_over(result(1))
        room.wait_acked(1)
        files = _open_files(room) - before
        stranger.disconnect()
        stranger.loop_stop()
        room.report = None
        heard = room.wait(lambda: room.report, "report").egress.rejected
        assert room.stop() == 0
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        with Subscriber(broker.port) as subscriber:  # what is retained now is the device's own again
            eventually(lambda: all(subscriber.last(topic) for topic in topics[:1]), "status")
            subscriber.wait(f"{P}/door/state", lambda one: b"starting" in one.payload)
            subscriber.wait(f"{P}/health", lambda one: b'"outbox"' in one.payload)
            status = subscriber.last(f"{P}/status")
        assert status
        assert status.payload == b"online"
        assert SECRET not in room.log()
    return Hostility("strangers on its topics", repeat, heard, exits, heard, files)


HOSTILE = (an_engine_taken_over, strangers_on_its_topics)
