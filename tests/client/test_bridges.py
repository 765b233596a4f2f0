"""Behind a bridge of mosquitto: what it hands on, what it drops, and what the client makes of that."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from edge_infer.client import Client
from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import timestamp
from tests.broker import Broker, Subscriber, Talker
from tests.publisher.room import Room
from tests.publisher.samples import P, mqtt_plan, plan
from tests.publisher.samples import state as sample
from tests.test_docs import ROOT

PAGE = (ROOT / "docs" / "bridges.md").read_text()


def bridged(folder: Path, site: int, version: str) -> Broker:
    """The broker of the head office, with the bridge of the page."""
    folder.mkdir()
    block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    text = block[1].replace("broker.site:1883", f"127.0.0.1:{site}").replace("mqttv50", version)
    assert text != block[1]
    return Broker(folder, *text.splitlines()[1:], "restart_timeout 1")


@pytest.mark.parametrize(("version", "expiry"), [("mqttv50", range(1, 181)), ("mqttv311", {None})])
def test_what_a_bridge_carries_is_what_the_page_says(
    tmp_path: Path, broker: Broker, version: str, expiry: object
) -> None:
    with bridged(tmp_path / "office", broker.port, version) as office, Subscriber(office.port) as heard, Room() as room:
        room.start(plan(mqtt_plan(broker.port)))
        heard.wait(f"{P}/status", lambda each: each.payload == b"online")
        heard.wait(f"{P}/door/state")
        with Subscriber(office.port) as later:
            for topic in ("status", "door/state"):
                kept = later.wait(f"{P}/{topic}")
                assert kept.retain
                assert getattr(kept.properties, "MessageExpiryInterval", None) in expiry  # type: ignore[operator]
        with Subscriber(office.port, topic="bridges/gate") as link:
            assert link.wait("bridges/gate").payload == b"1"
            room.kill()
            heard.wait(f"{P}/status", lambda each: each.payload == b"offline")
            broker.stop()
            link.wait("bridges/gate", lambda each: each.payload == b"0")


def test_a_site_without_power_is_not_believed_for_ever(tmp_path: Path, broker: Broker) -> None:
    """The bridge drops the expiry, and nobody is left to clear anything: the time of the state shows its age."""
    with bridged(tmp_path / "office", broker.port, "mqttv311") as office:
        with Subscriber(office.port) as heard, Talker(broker.port) as device, Client("127.0.0.1", office.port) as first:
            device.say(f"{P}/status", b"online", retain=True)
            device.say(f"{P}/door/state", said(0), retain=True)
            known = next(update for update in first.states(60) if update.standing.counts is not None)
            assert known.standing.present("face") is True
            device.say(f"{P}/door/state", said(176), retain=True)
            heard.wait(f"{P}/door/state", lambda each: each.payload != heard.on(f"{P}/door/state")[0].payload)
        broker.stop()
        with Client("127.0.0.1", office.port) as client:
            whys = []
            for update in client.states(60):
                assert update.standing.present("face") is None
                whys.append(update.standing.why_not)
                if whys[-1] == "silent":
                    break
    assert whys[-1] == "silent"


def said(ago: float) -> bytes:
    """A state as it was said so many seconds ago."""
    return dumps(replace(sample(1), ts=timestamp(time.time() - ago)))
