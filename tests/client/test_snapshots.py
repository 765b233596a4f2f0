"""A subscriber knows whether it has every retained message, and fetches what a broker left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.client import Client
from edge_infer.client.snapshots import Snapshots
from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import (
    BoardHealth,
    ConfigStatus,
    EgressHealth,
    Health,
    Info,
    ModelStatus,
    OutboxHealth,
    PipelineInfo,
    RetainedTopics,
)
from edge_infer.contract.topics import Place, retained_names
from tests.broker import Broker, Talker, eventually
from tests.publisher.samples import BOOT, SHA, TS
from tests.publisher.samples import state as sample
from tests.running import Daemon

PATIENCE = 120.0
DEVICES = 200
"""With 2,500 retained messages; a broker with its usual limits gives a new subscriber about a thousand."""
MODEL = ModelStatus("active", "1.0.0", SHA[:8])
HEALTH = Health(
    1, TS, BOOT, {}, {}, OutboxHealth(0, 0, 0, {}, degraded=False), EgressHealth(0), BoardHealth(None, None, None, None)
)


def info(pipelines: list[str], topics: RetainedTopics | None = None) -> Info:
    named = {name: PipelineInfo("cam", "m@1", SHA[:8]) for name in pipelines}
    told = topics or RetainedTopics.of(retained_names(pipelines, ["m"]))
    return Info(1, TS, BOOT, {}, "a board", "0" * 64, {}, named, topics=told)


def messages(device: str, pipelines: list[str], told: Info | None = None) -> Iterator[tuple[str, bytes]]:
    """Everything that the broker keeps of a device."""
    base = f"edge-infer/{device}"
    yield f"{base}/status", b"online"
    yield f"{base}/info", dumps(told or info(pipelines))
    yield f"{base}/config", dumps(ConfigStatus("applied", "0" * 64, TS))
    yield f"{base}/health", dumps(HEALTH)
    yield f"{base}/model/m", dumps(MODEL)
    for name in pipelines:
        yield f"{base}/{name}/state", dumps(sample(1))


def until_settled(client: Client) -> None:
    eventually(lambda: list(client.updates(0.2)) is not None and client.settled, "end of the survey", PATIENCE)


@contextmanager
def filled(broker: Broker, devices: dict[str, list[tuple[str, bytes]]]) -> Iterator[None]:
    """The broker keeps these messages."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(0)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    sent = [client.publish(topic, payload, 1, True) for each in devices.values() for topic, payload in each]
    for one in sent:
        one.wait_for_publish(PATIENCE)
    yield
    client.disconnect()
    client.loop_stop()


@pytest.mark.long
def test_a_client_completes_what_a_broker_with_its_usual_limits_leaves_out(tmp_path: Path) -> None:
    devices = {
        f"d{number:03}": list(messages(f"d{number:03}", [f"p{place}" for place in range(7 + number % 2)]))
        for number in range(DEVICES)
    }
    assert sum(map(len, devices.values())) == 12.5 * DEVICES
    with Broker(tmp_path) as broker, filled(broker, devices), Client("127.0.0.1", broker.port) as client:
        lacking: set[str] = set()
        received: dict[str, set[str]] = {name: set() for name in devices}
        for _ in client.updates(PATIENCE):
            if client._surveyed and client._surveyed[0].startswith("edge-infer/d") and not lacking:
                lacking = {name for name, each in client.snapshots().items() if not each.complete}
                received = {name: client._snapshots._devices[name].received.copy() for name in devices}
            assert not client.complete or client.settled
            if client.settled:
                break
        short = {name for name, each in devices.items() if len(received[name]) < len(each)}
        assert lacking == short  # exactly those that the broker left something out of
        assert len(lacking) > DEVICES / 2
        assert client.complete
        assert {name: each.received for name, each in client.snapshots().items()} == {
            name: len(each) for name, each in devices.items()
        }


def test_a_device_that_claims_more_topics_than_it_has_stays_incomplete(broker: Broker) -> None:
    more = info(["door"], RetainedTopics(40, "0" * 16))
    devices = {"liar": list(messages("liar", ["door"], more)), "good": list(messages("good", ["door", "yard"]))}
    with filled(broker, devices), Client("127.0.0.1", broker.port) as client:
        until_settled(client)
        liar, good = client.snapshot("liar"), client.snapshot("good")
        assert (liar.complete, liar.received, liar.expected, liar.lacking, liar.missing) == (False, 6, 40, 34, ())
        assert (good.complete, good.received, good.expected, good.lacking) == (True, 7, 7, 0)
        assert not client.complete


def test_a_missing_state_has_its_name_and_one_that_comes_later_completes(broker: Broker) -> None:
    kept = [each for each in messages("box", ["door", "yard"]) if "yard" not in each[0]]
    with filled(broker, {"box": kept}), Talker(broker.port) as talker, Client("127.0.0.1", broker.port) as client:
        until_settled(client)
        snapshot = client.snapshot("box")
        assert (snapshot.complete, snapshot.lacking, snapshot.missing) == (False, 1, ("yard/state",))
        talker.say("edge-infer/box/yard/state", dumps(sample(2)), retain=True)
        eventually(lambda: list(client.updates(0.2)) is not None and client.complete, "complete snapshot")
        talker.say("edge-infer/box/yard/state", b"", retain=True)  # the device removed it, and tells so
        talker.say("edge-infer/box/info", dumps(info(["door"])), retain=True)
        for update in client.updates(10):
            if getattr(update, "record", None) == info(["door"]):
                break
        assert (client.complete, client.snapshot("box").expected) == (True, 6)


def test_a_device_of_an_earlier_version_leaves_it_open(broker: Broker) -> None:
    old = Info(1, TS, BOOT, {}, "a board", "0" * 64, {}, {})
    with filled(broker, {"old": list(messages("old", [], old))}), Client("127.0.0.1", broker.port) as client:
        until_settled(client)
        assert (client.snapshot("old").complete, client.complete) == (None, False)


def test_what_expires_is_not_missing_of_a_device_that_is_gone() -> None:
    snapshots = Snapshots()
    for place in (Place("status"), Place("info"), Place("config"), Place("model", "m")):
        snapshots.take("box", place, empty=False)
    snapshots.info("box", info(["door"]))
    snapshots.status("box", online=True)
    assert snapshots.of("box").missing == ("door/state", "health")
    snapshots.status("box", online=False)
    assert (snapshots.of("box").complete, snapshots.of("box").missing) == (True, ())
    snapshots.take("box", Place("model", "m"), empty=True)
    assert snapshots.of("box").complete is False


def test_a_daemon_tells_exactly_what_it_keeps_at_the_broker(house: tuple[Broker, Daemon]) -> None:
    broker, _ = house
    with Client("127.0.0.1", broker.port) as client:
        until_settled(client)
        eventually(lambda: list(client.updates(0.2)) is not None and client.complete, "complete snapshot", 60)
        assert client.snapshot("box").expected == len(retained_names(["faces"], ["faces"]))
