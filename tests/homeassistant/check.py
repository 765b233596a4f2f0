"""A real Home Assistant beside the real publisher and the real daemon; run by ``scripts/home-assistant``.

It is no part of the suite, because Home Assistant wants a Python and a gigabyte of its own. What is tried here on the
program itself, ``tests/publisher/test_discovery.py`` tries on a transcript of its rules.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Event, SourceHealth, timestamp
from edge_infer.ipc.messages import ApplyPlan
from edge_infer.publisher.homeassistant.discovery import object_id
from tests.broker import Broker, Subscriber, Talker, eventually, free_port
from tests.homeassistant.recipe import PAGE as RECIPE_PAGE
from tests.homeassistant.recipe import RECIPE, announced_entities, at_the_gate, gate_plan
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, engine_report, mqtt_plan
from tests.publisher.tasks import ODD, SAID, every_task, said
from tests.running import Daemon, config
from tests.test_docs import ROOT, blocks_of
from tests.test_tutorial import PAGE as TUTORIAL
from tests.test_tutorial import command, configurations, entities

HOST = Path(__file__).with_name("host.py")
PATIENCE = 60.0
SHOWN = {"gate": "sensor.gate_watch", "box": "binary_sensor.gate_box", "lamp": "light.gate"}
LAMP = """\
input_boolean: {lamp: }
template:
  - light:
      - name: Gate
        state: "{{ is_state('input_boolean.lamp', 'on') }}"
        turn_on: {action: input_boolean.turn_on, target: {entity_id: input_boolean.lamp}}
        turn_off: {action: input_boolean.turn_off, target: {entity_id: input_boolean.lamp}}
"""


class HomeAssistant:
    """One in a process and folder of its own, joined to a broker."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self._folder = folder
        self._port = port
        self._more = more

    def __enter__(self) -> HomeAssistant:
        self._folder.mkdir(exist_ok=True)
        web = f"http: {{server_host: 127.0.0.1, server_port: {free_port()}}}\n"
        (self._folder / "configuration.yaml").write_text(web + self._more)
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(
            [os.environ["HOME_ASSISTANT_PYTHON"], HOST, self._folder, str(self._port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        assert self._answer() == {"ready": True}
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()
        self._log.close()

    def ask(self, command: str) -> Any:
        """One command of `host.py`."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def shows(self, device: str = object_id(P)) -> dict[str, str]:
        """What the entities of a device show, by key."""
        found = self.ask("entities").items()
        return {name.removeprefix(f"{device}_"): item["state"] for name, item in found if name.startswith(f"{device}_")}

    def wait(self, fits: Callable[[dict[str, str]], bool], what: str, device: str = object_id(P)) -> dict[str, str]:
        """What it shows once that fits."""
        shown: dict[str, str] = {}

        def ready() -> bool:
            nonlocal shown
            shown = self.shows(device)
            return fits(shown)

        eventually(ready, lambda: f"{what}: {shown}", PATIENCE)
        return shown

    def complaints(self) -> list[str]:
        """Warnings and errors of its MQTT integration and of its templates."""
        lines = (self._folder / "log").read_text().splitlines()
        loud = [line for line in lines if " WARNING " in line or " ERROR " in line]
        return [line for line in loud if "[homeassistant.components.mqtt" in line or "emplate" in line]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def home(tmp_path: Path, broker: Broker) -> Iterator[HomeAssistant]:
    with HomeAssistant(tmp_path / "home", broker.port) as running:
        yield running
        assert running.complaints() == []


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as room:
        yield room


def test_every_task(tmp_path: Path, broker: Broker, home: HomeAssistant, room: Room) -> None:
    plan = every_task(mqtt_plan(broker.port), state_dir=str(tmp_path))
    room.start(plan)
    room.tell(engine_report())
    for name, outcome in SAID.items():
        room.say(said(name, outcome))
    expected = {
        "p.people.present.person": "on",
        "p.people.count.person": "2",
        "p.people.count.it-s-a-robot--f229c89a": "1",
        "p.people.zone.drive.present.person": "on",
        "p.people.zone.drive.count.person": "1",
        "p.people.line.gate.left": "3",
        "p.people.event": "unknown",
        "p.door.present.person": "off",
        "p.door.count.person": "0",
        "p.yard.count": "4",
        "p.body.count.person": "1",
        "p.floor.present.grass": "on",
        "p.floor.present.road": "off",
        "p.birds.class": "wren",
        "p.things.class": "nothing",
        "p.pump.anomaly": "on",
        "p.pump.distance": "3.5",
        "p.meter.value.-ngle-fc8831b6": "unknown",
        "p.meter.value.n": "7.0",
        "d.pending": "0",
    }
    home.wait(lambda shown: {key: shown.get(key) for key in expected} == expected, "what was said")
    attributes = home.ask("entities")[f"{object_id(P)}_p.people.count"]["attributes"]
    assert (attributes["person"], attributes[ODD]) == (2, 1)
    assert home.ask("entities")[f"{object_id(P)}_p.meter.value.level"]["attributes"]["unit_of_measurement"] == "l"
    assert [device["name"] for device in home.ask("devices")] == ["gate-3"]
    for name in SAID:
        room.say(said(name, None, "source_lost"))
    home.wait(
        lambda shown: all(shown[key] == "unknown" for key in expected if not key.startswith("d.")), "nothing known"
    )
    assert room.stop() == 0
    home.wait(lambda shown: set(shown.values()) == {"unavailable"}, "unavailable device")


def test_events_and_their_replay(tmp_path: Path, broker: Broker, home: HomeAssistant, room: Room) -> None:
    room.start(every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path)))
    home.wait(lambda shown: shown.get("p.people.event") == "unknown", "event entity")
    room.listen()
    room.hand_over(Event(1, TS, BOOT, 1, "appear", label="person"), "people")
    first = home.wait(lambda shown: shown["p.people.event"] != "unknown", "event")["p.people.event"]
    assert home.ask("entities")[f"{object_id(P)}_p.people.event"]["attributes"]["event_type"] == "appear"
    room.hand_over(Event(1, TS, BOOT, 2, "leave", label="person", replay=True), "people")
    room.say(said("people", {"person": 7}))
    shown = home.wait(lambda shown: shown["p.people.count.person"] == "7", "count after the late event")
    assert shown["p.people.event"] == first, "what is late is no news"


def test_automations_of_the_page(tmp_path: Path, broker: Broker, room: Room) -> None:
    blocks = [
        block.text for block in blocks_of(ROOT / "docs" / "home-assistant.md") if block.info.endswith("assistant")
    ]
    rules = "automation:\n" + "".join(block.removeprefix("automation:\n") for block in blocks)
    rules = rules.replace("switch.", "input_boolean.").replace('"00:05:00"', '"00:00:01"')
    with HomeAssistant(tmp_path / "home", broker.port, f"input_boolean: {{porch: }}\n{rules}") as home:

        def sees(entity: str, state: str) -> None:
            eventually(lambda: home.ask("states").get(entity) == state, f"{entity} {state}", PATIENCE)

        room.start(every_task(mqtt_plan(broker.port), "door", state_dir=str(tmp_path)))
        room.say(said("door", {}))
        sees("binary_sensor.gate_3_door_person_present", "off")
        room.say(said("door", {"person": 1}))
        sees("input_boolean.porch", "on")
        room.say(said("door", {}))
        sees("input_boolean.porch", "off")
        room.listen()
        room.hand_over(Event(1, TS, BOOT, 1, "appear", label="person"), "door")
        eventually(lambda: "person at the door" in home.ask("notes"), "note", PATIENCE)
        room.say(said("door", None, "source_lost"))
        eventually(lambda: "Nobody watches the door any more" in home.ask("notes"), "other note", PATIENCE)
        assert home.complaints() == []


def test_the_automation_of_the_tutorial(assets: Path, tmp_path: Path, broker: Broker) -> None:
    _, zoned = configurations(assets, tmp_path, broker)
    rules = next(block.text for block in blocks_of(TUTORIAL) if block.info.endswith("assistant"))
    (tmp_path / "config.yaml").write_text(zoned)
    assert command(tmp_path, "edge-infer models pull coco-ssd").returncode == 0
    with HomeAssistant(tmp_path / "home", broker.port, rules) as home, Daemon(tmp_path, zoned):
        eventually(lambda: "A person is at the gate" in home.ask("notes"), "note", PATIENCE)
        shown = home.ask("states")
        assert {f"{kind}.gate_3_{name}" for kind, name in (each.split(".") for each in entities())} <= shown.keys()
        assert home.complaints() == []


def test_the_recipe(tmp_path: Path, broker: Broker, room: Room) -> None:
    """The package and the dashboard, set up as on the page, with shorter waits and a lamp of a switch."""
    home_folder = tmp_path / "home"
    (home_folder / "packages").mkdir(parents=True)
    package = re.sub(r'"00:0\d:00"', '"00:00:03"', (RECIPE / "package.yaml").read_text())
    (home_folder / "packages" / "edge_gate.yaml").write_text(package)
    (home_folder / "packages" / "lamp.yaml").write_text(LAMP)
    (home_folder / "edge-gate.yaml").write_text((RECIPE / "dashboard.yaml").read_text())
    setup = next(block.text for block in blocks_of(RECIPE_PAGE) if block.info == "yaml home-assistant setup")
    silent, blind = "The box at the gate is silent", "does not know who is there"
    with HomeAssistant(home_folder, broker.port, setup) as home:

        def sees(**wanted: str) -> None:
            def shown() -> dict[str, str | None]:
                states = home.ask("states")
                return {name: states.get(entity) for name, entity in SHOWN.items() if name in wanted}

            eventually(lambda: shown() == wanted, lambda: f"{wanted}: {shown()}", PATIENCE)

        def notes(*wanted: str) -> None:
            def fit() -> bool:
                found = home.ask("notes")
                return len(found) == len(wanted) and all(text in note for text, note in zip(wanted, found, strict=True))

            eventually(fit, lambda: f"{wanted}: {home.ask('notes')}", PATIENCE)

        sees(gate="not known", box="off")
        notes(silent)  # it was when Home Assistant started
        room.start(gate_plan(mqtt_plan(broker.port), str(tmp_path)))
        room.tell(engine_report())
        room.say(at_the_gate(0))
        sees(gate="nobody", box="on")
        notes()
        room.say(at_the_gate(1))
        sees(gate="person", box="on", lamp="on")
        room.tell(replace(engine_report(), sources={"cam": SourceHealth("lost", 0.0)}))
        room.say(at_the_gate(None))
        sees(gate="not known", box="on")
        notes(blind)
        sees(lamp="on")  # whether the person has left is not known
        room.say(at_the_gate(0))
        sees(gate="nobody", lamp="off")
        notes()
        assert home.ask("dashboard edge-gate") == yaml.safe_load((RECIPE / "dashboard.yaml").read_text())
        drawn = announced_entities((RECIPE / "dashboard.yaml").read_text())
        of_board = {"sensor.gate_3_temperature", "binary_sensor.gate_3_throttled"}
        assert drawn - home.ask("states").keys() <= of_board
        room.kill()
        sees(gate="not known", box="off")
        notes(silent)
        assert home.complaints() == []


def test_it_is_withdrawn(tmp_path: Path, broker: Broker, home: HomeAssistant, room: Room) -> None:
    mqtt, folder = mqtt_plan(broker.port), str(tmp_path)
    room.start(every_task(mqtt, "people", "meter", state_dir=folder))
    home.wait(lambda shown: {"p.people.count", "p.meter.value.n"} <= shown.keys(), "both pipelines")
    room.tell(ApplyPlan(every_task(mqtt, "people", state_dir=folder)))
    home.wait(lambda shown: "p.people.count" in shown and not any("meter" in key for key in shown), "one pipeline")
    assert room.stop() == 0
    room.start(every_task(mqtt, "door", state_dir=folder))
    home.wait(lambda shown: "p.door.event" in shown and not any("people" in key for key in shown), "another pipeline")
    room.tell(ApplyPlan(replace(every_task(mqtt, "door", state_dir=folder), discovery="off")))
    home.wait(lambda shown: not shown, "no entity")
    eventually(lambda: home.ask("devices") == [], "device forgotten", PATIENCE)


def test_home_assistant_starts_again(tmp_path: Path, broker: Broker, room: Room) -> None:
    """It finds out everything again from what is retained, without a word from the device."""
    room.start(every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path)))
    room.say(said("people", {"person": 2}))
    for _ in range(2):
        with HomeAssistant(tmp_path / "home", broker.port) as home:
            home.wait(lambda shown: shown.get("p.people.count.person") == "2", "count")
            home.ask("reload")
            home.wait(lambda shown: shown.get("p.people.count.person") == "2", "count after a reload")
            assert home.complaints() == []


def test_what_a_broker_has_on_its_disk(tmp_path: Path, broker: Broker, home: HomeAssistant, room: Room) -> None:
    """After a power cut of the whole house the broker says "online", and what was so before."""
    room.start(every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path)))
    room.tell(engine_report())
    room.say(said("people", {"person": 2}))
    home.wait(lambda shown: shown.get("p.people.count.person") == "2", "count")
    with Subscriber(broker.port) as heard:
        before = {topic: heard.wait(f"{P}/{topic}").value for topic in ("health", "people/state")}
    room.kill()
    home.wait(lambda shown: set(shown.values()) == {"unavailable"}, "unavailable device")
    with Talker(broker.port) as disk:

        def say(topic: str, ago: float) -> None:
            found = {**before[topic], "ts": timestamp(time.time() - ago)}
            found.pop("clock", None)
            disk.say(f"{P}/{topic}", json.dumps(found).encode(), retain=True)

        say("health", 100)
        disk.say(f"{P}/status", b"online", retain=True)
        say("people/state", 100)
        time.sleep(2)
        assert set(home.shows().values()) == {"unavailable"}
        say("health", 0)
        home.wait(lambda shown: shown.get("p.people.count.person") == "2", "count again")


def test_a_daemon_that_dies(tmp_path: Path, broker: Broker, home: HomeAssistant) -> None:
    """Nobody is left with faces that were there when the plug was pulled."""
    device = object_id("edge-infer/box")
    text = config(broker.port).replace(f"port: {broker.port}}}", f"port: {broker.port}, discovery: homeassistant}}")
    text = text.replace("fps: 10", "fps: 10, track: true")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        home.wait(lambda shown: shown.get("p.faces.present.face") in {"on", "off"}, "face or none", device)
        home.wait(lambda shown: shown["p.faces.event"] != "unknown", "event", device)
        home.wait(lambda shown: shown.get("s.cam.state") == "ok", "source", device)
        home.wait(lambda shown: shown["p.faces.fps"] not in {"unknown", "0.0"}, "rate", device)
        for pid in (daemon.pid, *daemon.pids().values()):
            os.kill(pid, signal.SIGKILL)
        home.wait(lambda shown: set(shown.values()) == {"unavailable"}, "unavailable device", device)
        eventually(lambda: daemon.wait(1) != 0, "end of the daemon")
