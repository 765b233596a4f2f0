"""The recipe of the page on a real Node-RED, beside the real publisher; run by ``scripts/node-red``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import Event, State, timestamp
from edge_infer.ipc.messages import ApplyPlan, StateSnapshot
from tests.broker import Broker, Talker, eventually
from tests.nodered.host import PATIENCE, NodeRed, now
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, P, mqtt_plan, plan
from tests.publisher.samples import state as sample


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as room:
        yield room


def state(count: int, ago: float = 0.0) -> State:
    return replace(sample(count), ts=timestamp(time.time() - ago))


def test_three_answers(tmp_path: Path, broker: Broker, room: Room) -> None:
    both = plan(mqtt_plan(broker.port), pipelines=("door", "yard"))
    room.start(both)
    room.say(StateSnapshot("yard", state(2)))
    room.wait_connected()
    with NodeRed(tmp_path / "red", broker.port, f"{P}/yard", "face") as red:
        assert red.answers()[-1].value is None, "what is retained may be of long ago"
        room.say(StateSnapshot("yard", state(2)))
        red.wait(True)
        room.say(StateSnapshot("yard", state(0)))
        red.wait(False)
        room.say(StateSnapshot("yard", state(1)))
        red.wait(True)
        room.tell(ApplyPlan(plan(mqtt_plan(broker.port))))
        red.wait(None)
        removed = now()
        room.tell(ApplyPlan(both))
        room.say(StateSnapshot("yard", state(1)))
        red.wait(True)
        assert red.values_since(removed) in ([None, True], [True])
        room.kill()
        red.wait(None)
        assert "rror" not in red.log()


def test_its_own_connection_and_what_a_broker_has_on_its_disk(tmp_path: Path) -> None:
    lines = ("persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1")
    with Broker(tmp_path, *lines) as broker, NodeRed(tmp_path / "red", broker.port, f"{P}/door", "face") as red:
        with Talker(broker.port) as device:
            device.say(f"{P}/status", b"online", retain=True)
            device.say(f"{P}/door/state", dumps(state(1)), retain=True)
        red.wait(True)
        broker.stop()
        red.wait(None)
        lost = now()
        broker.start()
        with Talker(broker.port) as device:
            eventually(lambda: red.log().count("Connected to broker") == 2, "another connection", PATIENCE)
            back = now()
            eventually(lambda: red.answers()[-1].at > back + 1, "an answer after what is on the disk", PATIENCE)
            assert red.values_since(lost) in ([None], [])
            device.say(f"{P}/status", b"online", retain=True)
            device.say(f"{P}/door/state", dumps(state(0)), retain=True)
            red.wait(False)


def test_what_is_180_seconds_old_is_not_known(tmp_path: Path, broker: Broker) -> None:
    with NodeRed(tmp_path / "red", broker.port, f"{P}/door", "face") as red, Talker(broker.port) as device:
        device.say(f"{P}/status", b"online", retain=True)
        device.say(f"{P}/door/state", dumps(state(1, 170)), retain=True)
        red.wait(True)
        red.wait(None, 30)
        device.say(f"{P}/door/state", dumps(state(1, 200)), retain=True)
        sent = now()
        device.say(f"{P}/door/state", b"", retain=True)
        red.wait(None)
        assert True not in red.values_since(sent)


def test_events_come_without_late_ones(tmp_path: Path, broker: Broker) -> None:
    with NodeRed(tmp_path / "red", broker.port, f"{P}/door", "face") as red, Talker(broker.port) as device:
        eventually(lambda: "Connected to broker" in red.log(), "connection", PATIENCE)
        sent = [Event(1, timestamp(now()), BOOT, number, "appear", label="face") for number in (1, 2, 3)]

        def arrived() -> bool:
            """Subscribed a moment after the connection, so the first may be too early."""
            device.say(f"{P}/door/event", dumps(sent[0]))
            return bool(red.events())

        eventually(arrived, "first event", PATIENCE)
        device.say(f"{P}/door/event", dumps(replace(sent[1], replay=True)))
        device.say(f"{P}/door/event", dumps(sent[2]))
        eventually(lambda: red.events()[-1]["seq"] == 3, "last event", PATIENCE)
        assert {event["seq"] for event in red.events()} == {1, 3}
