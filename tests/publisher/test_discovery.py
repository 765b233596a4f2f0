"""Home Assistant is told what there is, sees what holds, and is told what is gone."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.announcement import Announcement
from edge_infer.contract.codec import decode_json, dumps, encode, loads, replace
from edge_infer.contract.messages import (
    Anomaly,
    BoardHealth,
    EgressHealth,
    Event,
    Health,
    OutboxHealth,
    SourceHealth,
    timestamp,
)
from edge_infer.contract.topics import MAX_LARGE_MESSAGE_BYTES, Place
from edge_infer.ipc.messages import ApplyPlan, EngineDown
from edge_infer.plan.records import CropsPlan, EventsPlan, LinePlan, PipelinePlan, TrackPlan, ZonePlan
from edge_infer.publisher.homeassistant import templates
from edge_infer.publisher.homeassistant.discovery import FILE, announce, object_id
from edge_infer.publisher.homeassistant.templates import quoted
from tests.broker import Broker, Subscriber
from tests.homeassistant.rules import environment, faults, render
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, engine_report, model_plan, mqtt_plan, plan, result
from tests.publisher.tasks import MODELS, ODD, SAID, every_task, model_of, said

DEVICE = "edge-infer_gate-3"
TOPIC = f"homeassistant/device/{DEVICE}/config"
MQTT = mqtt_plan(1883)


def made(*names: str, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """The announcement of a plan, as it goes out."""
    found: dict[str, Any] = json.loads(dumps(announce(every_task(MQTT, *names), DEVICE, known or {})))
    return found


def shown(entity: str, name: str, outcome: Any, reason: Any = None) -> str:
    """What an entity of a pipeline shows of a state."""
    payload = encode(said(name, outcome, reason).state)
    return render(made(name)["cmps"][f"p.{name}.{entity}"]["val_tpl"], payload)


def test_home_assistant_takes_it() -> None:
    assert faults(TOPIC, made()) == []
    for name in MODELS:
        assert faults(TOPIC, made(name)) == []


def test_a_cascade_of_a_classifier_counts() -> None:
    whole = every_task(MQTT, "birds")
    (birds,) = whole.pipelines
    cascade = replace(whole, pipelines=(replace(birds, crops=CropsPlan("door")),))
    found = announce(cascade, DEVICE, {}).cmps
    assert faults(TOPIC, json.loads(dumps(announce(cascade, DEVICE, {})))) == []
    assert {"p.birds.present.robin", "p.birds.count.wren", "p.birds.count", "p.birds.event"} <= found.keys()
    assert "p.birds.class" not in found


@pytest.mark.parametrize(
    ("entity", "name", "outcome", "expected"),
    [
        ("present.person", "people", {"person": 2}, "ON"),
        ("present.person", "people", {}, "OFF"),
        ("count.person", "people", {"person": 2, ODD: 1}, "2"),
        ("count.person", "people", {ODD: 1}, "0"),
        ("count.it-s-a-robot--f229c89a", "people", {ODD: 3}, "3"),
        ("present.it-s-a-robot--f229c89a", "people", {ODD: 3}, "ON"),
        ("count", "people", {"person": 2, ODD: 1}, "3"),
        ("zone.drive.present.person", "people", {"person": 2}, "ON"),
        ("zone.drive.present.person", "people", {"person": 1}, "OFF"),
        ("zone.drive.count.person", "people", {"person": 4}, "2"),
        ("zone.drive.count.person", "people", {}, "0"),
        ("line.gate.left", "people", {}, "3"),
        ("line.gate.right", "people", {}, "2"),
        ("count", "yard", {}, "0"),
        ("count.person", "body", {"person": 1}, "1"),
        ("present.road", "floor", {"grass": 1}, "OFF"),
        ("count", "floor", {"grass": 1}, "1"),
        ("class", "birds", "wren", "wren"),
        ("class", "birds", None, "nothing"),
        ("anomaly", "pump", Anomaly(3.5, 2.0, "anomalous"), "ON"),
        ("anomaly", "pump", Anomaly(0.5, 2.0, "normal"), "OFF"),
        ("distance", "pump", Anomaly(0.5, 2.0, "normal"), "0.5"),
        ("value.level", "meter", SAID["meter"], "4.2"),
        ("value.-ngle-fc8831b6", "meter", SAID["meter"], "None"),
        ("value.n", "meter", SAID["meter"], "7.0"),
    ],
)
def test_what_is_shown_of_a_state(entity: str, name: str, outcome: Any, expected: str) -> None:
    assert shown(entity, name, outcome) == expected
    assert shown(entity, name, None, "source_lost") == "None", "not known is not nothing"


@pytest.mark.parametrize(
    ("label", "present", "count"), [("person", "ON", "2"), ("car", "OFF", "0"), ("cat", "None", "None")]
)
def test_a_label_that_found_no_room_is_not_known(label: str, present: str, count: str) -> None:
    cut = {"counts": {"person": 2, "car": 0}, "zones": {"drive": {"person": 2, "car": 0}}, "more": 3}
    for zone in ("", "drive"):
        assert render(templates.present(label, zone), cut) == present
        assert render(templates.count(label, zone), cut) == count
        whole = {key: value for key, value in cut.items() if key != "more"}
        assert render(templates.present(label, zone), whole) == present.replace("None", "OFF")


@pytest.mark.parametrize(("ago", "clock", "shows"), [(0, None, "online"), (60, None, "online"), (80, None, "offline"),
                                                     (80, "unsynced", "online")])  # fmt: skip
def test_a_health_that_a_broker_has_kept_from_before_shows_nobody(ago: float, clock: str | None, shows: str) -> None:
    status, health = made("people")["avty"]
    assert status == {"t": f"{P}/status"}
    assert health["t"] == f"{P}/health"
    payload = {"ts": timestamp(time.time() - ago)} | ({"clock": clock} if clock else {})
    assert render(health["val_tpl"], payload) == shows


def with_sensors(root: Path) -> Path:
    """The files of a board that reports its temperature, and whether its firmware slows it down."""
    for name, text in (
        ("class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("class/thermal/thermal_zone0/temp", "51200"),
        ("devices/platform/soc/soc:firmware/get_throttled", "0"),
    ):
        (root / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys" / name).write_text(text)
    return root


def test_only_what_the_board_reports_is_announced(tmp_path: Path) -> None:
    of_board = {"d.temperature", "d.throttled"}
    plan = every_task(MQTT, "people")
    assert announce(plan, DEVICE, {}, tmp_path).cmps.keys().isdisjoint(of_board)
    assert of_board <= announce(plan, DEVICE, {}, with_sensors(tmp_path)).cmps.keys()


def test_an_event_entity_has_the_types_that_come() -> None:
    objects = ["appear", "leave", "enter", "exit", "loiter", "cross"]
    types = {name: made(name)["cmps"][f"p.{name}.event"]["evt_typ"] for name in ("people", "birds", "pump")}
    assert types == {"people": objects, "birds": ["start", "end"], "pump": ["start", "end"]}


def test_what_is_shown_of_health_and_configuration(tmp_path: Path) -> None:
    report = engine_report()
    health = Health(1, TS, BOOT, {}, {}, *parts_of_health())
    entities = loads(dumps(announce(every_task(MQTT, "people"), DEVICE, {}, with_sensors(tmp_path))))["cmps"]

    def seen(key: str, record: object = health) -> str:
        return render(entities[key]["val_tpl"], encode(record))

    assert [seen(key) for key in ("d.pending", "d.lost", "d.cpu", "d.memory", "d.temperature", "d.throttled")] == [
        "3", "7", "41.2", "None", "None", "OFF",
    ]  # fmt: skip
    assert [seen(key) for key in ("p.people.fps", "p.people.latency", "s.cam.state")] == ["None"] * 3
    door = report.pipelines["door"]
    full = replace(health, pipelines={"people": door}, sources={"cam": SourceHealth("lost", 0.0)})
    assert [seen(key, full) for key in ("p.people.fps", "p.people.latency", "s.cam.state")] == ["5.0", "20", "lost"]
    early = replace(full, pipelines={"people": replace(door, latency_ms=None)})
    assert seen("p.people.latency", early) == "None"
    assert render(entities["d.config"]["val_tpl"], {"state": "rejected"}) == "ON"


def parts_of_health() -> tuple[Any, ...]:
    outbox = OutboxHealth(
        pending=3, bytes=900, delivered=4, lost={"full": 5, "rejected": 2, "unknown": 580}, degraded=False
    )
    return outbox, EgressHealth(0), BoardHealth(0.412, None, None, throttled=False)


def test_an_event_is_news_unless_it_is_late() -> None:
    template = made("people")["cmps"]["p.people.event"]["val_tpl"]
    event = Event(1, TS, BOOT, 9, "appear", label="person", score=0.9)
    seen = json.loads(render(template, encode(event)))
    assert (seen["event_type"], seen["label"], seen["seq"]) == ("appear", "person", 9)
    assert render(template, encode(replace(event, replay=True))) == ""


@given(st.text(max_size=40))
def test_any_label_can_be_asked_for(label: str) -> None:
    assert environment().from_string("{{d.get(" + quoted(label) + ",0)}}").render(d={label: 5}) == "5"


def test_every_device_has_a_name_of_its_own() -> None:
    assert object_id(P) == DEVICE
    assert object_id("häuser/1.OG/gate-3") == "h_user_1_OG_gate-3"


def test_it_fits_into_a_message_and_the_important_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    pipelines = every_task(MQTT).pipelines * 12
    many = tuple(replace(pipeline, name=f"{pipeline.name}-{n}") for n, pipeline in enumerate(pipelines))
    announcement = announce(replace(every_task(MQTT), pipelines=many), DEVICE, {"p.old.count": "sensor"})
    assert MAX_LARGE_MESSAGE_BYTES - 1000 < len(dumps(announcement)) <= MAX_LARGE_MESSAGE_BYTES
    keys = list(announcement.cmps)
    assert keys[:2] == ["p.old.count", "p.people-0.present.person"]
    assert "are missing there" in caplog.text


def test_the_longest_names_fit_too() -> None:
    label, name = "😀" * 128, "n" * 64
    model = replace(model_plan(labels=(label,)), task="detection")
    zone = ZonePlan(name, ((0, 0), (1, 0), (1, 1)))
    line = LinePlan(name, (0, 0), (1, 1))
    door = PipelinePlan(name, "cam", model, 0.5, track=TrackPlan(), zones=(zone,), lines=(line,), events=EventsPlan())
    long = replace(every_task(replace(MQTT, topic=f"{'p' * 200}/{name}")), device=name, pipelines=(door,))
    announcement = announce(long, object_id(long.mqtt.topic), {})
    payload = dumps(announcement)
    assert decode_json(Announcement, payload) == announcement
    assert len(payload) <= MAX_LARGE_MESSAGE_BYTES
    assert faults(Place("discovery", object_id(long.mqtt.topic)).topic(""), loads(payload)) == []


def test_it_is_said_on_every_connection_before_the_states(tmp_path: Path, broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(every_task(mqtt_plan(broker.port), state_dir=str(tmp_path)))
        heard = subscriber.wait(TOPIC)
        assert heard.value == made()
        subscriber.wait(f"{P}/people/state")
        topics = [one.topic for one in subscriber.heard]
        assert topics.index(f"{P}/status") < topics.index(TOPIC) < topics.index(f"{P}/people/state")
    broker.stop(signal.SIGKILL)
    broker.start()
    with Subscriber(broker.port) as subscriber:
        assert subscriber.wait(TOPIC).value == made()


def test_off_by_default(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        subscriber.wait(f"{P}/door/state")
        assert subscriber.on(TOPIC) == []


def test_an_entity_that_is_gone_is_withdrawn(tmp_path: Path, broker: Broker, room: Room) -> None:
    both = every_task(mqtt_plan(broker.port), "people", "door", state_dir=str(tmp_path))
    one = every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path))
    with Subscriber(broker.port) as subscriber:
        room.start(both)
        before = subscriber.wait(TOPIC).value["cmps"]
        room.tell(ApplyPlan(one))
        after = subscriber.wait(TOPIC, lambda heard: heard.value["cmps"] != before).value["cmps"]
        assert after["p.door.count.person"] == {"p": "sensor"}
        assert after["p.door.present.person"] == {"p": "binary_sensor"}
        assert {key for key, entity in after.items() if entity.keys() > {"p"}} == set(made("people")["cmps"])
        assert room.stop() == 0
        assert "p.door" not in (tmp_path / "publisher" / FILE).read_text(), "the broker has heard it"
        room.start(one)
        subscriber.wait(TOPIC, lambda heard: heard.value["cmps"] == made("people")["cmps"])


def test_what_was_removed_while_the_daemon_stood_still(tmp_path: Path, broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(every_task(mqtt_plan(broker.port), "people", "meter", state_dir=str(tmp_path)))
        subscriber.wait(TOPIC)
        assert room.stop() == 0
        room.start(every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path)))
        found = subscriber.wait(TOPIC, lambda heard: heard.value["cmps"].get("p.meter.value.n") == {"p": "sensor"})
        assert faults(TOPIC, found.value) == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_turned_off(tmp_path: Path, broker: Broker, room: Room, stopped: bool) -> None:
    on = every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path))
    off = replace(on, discovery="off")
    with Subscriber(broker.port) as subscriber:
        room.start(on)
        subscriber.wait(TOPIC)
        if stopped:
            assert room.stop() == 0
            room.start(off)
        else:
            room.tell(ApplyPlan(off))
        subscriber.wait(TOPIC, lambda heard: heard.payload == b"")
        assert room.stop() == 0
        assert not (tmp_path / "publisher" / FILE).exists()
    with Subscriber(broker.port) as later:
        room.start(off)
        later.wait(f"{P}/people/state", lambda heard: not heard.retain)
        assert later.on(TOPIC) == []


def test_another_name(tmp_path: Path, broker: Broker, room: Room) -> None:
    mqtt = mqtt_plan(broker.port)
    with Subscriber(broker.port) as subscriber:
        room.start(every_task(mqtt, "people", state_dir=str(tmp_path)))
        subscriber.wait(TOPIC)
        room.tell(ApplyPlan(every_task(replace(mqtt, topic="edge-infer/yard"), "people", state_dir=str(tmp_path))))
        subscriber.wait(TOPIC, lambda heard: heard.payload == b"")
        moved = subscriber.wait("homeassistant/device/edge-infer_yard/config", lambda heard: heard.payload != b"")
        assert [each["t"] for each in moved.value["avty"]] == ["edge-infer/yard/status", "edge-infer/yard/health"]
        room.wait(lambda: room.report and room.report.connected, "connection")
    with Subscriber(broker.port) as later:
        later.wait("homeassistant/device/edge-infer_yard/config")
        assert later.on(TOPIC) == []


def test_a_folder_that_cannot_be_written_costs_nothing_else(broker: Broker, room: Room) -> None:
    mqtt = mqtt_plan(broker.port)
    with Subscriber(broker.port) as subscriber:
        room.start(every_task(mqtt, "people", "meter"))
        assert subscriber.wait(TOPIC).value == made("people", "meter")
        room.tell(ApplyPlan(every_task(mqtt, "people")))
        subscriber.wait(TOPIC, lambda heard: heard.value["cmps"]["p.meter.value.n"] == {"p": "sensor"})
        room.tell(EngineDown("engine_failed", BOOT))
        subscriber.wait(f"{P}/people/state", lambda heard: heard.value.get("reason") == "engine_failed")
        room.stop()
    assert "may stay in Home Assistant" in room.log()


def test_it_is_part_of_the_closed_schema() -> None:
    assert Place("discovery", DEVICE).rule.record is Announcement
    assert Place("discovery", DEVICE).topic(P) == TOPIC


def test_a_broker_that_denies_it_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(f"topic readwrite {P}/#\n")
    with (
        Broker(tmp_path, f"acl_file {tmp_path / 'acl'}") as broker,
        Room() as room,
        Subscriber(broker.port, topic=f"{P}/#") as subscriber,
    ):
        room.start(every_task(mqtt_plan(broker.port), "people", state_dir=str(tmp_path)))
        subscriber.wait(f"{P}/people/state")
        told = room.wait_told("denies")
        assert f"the broker denies {TOPIC} to " in told
        assert f": allow publishing to {TOPIC} in its access rules" in told
        model = model_of("people")
        room.hand_over(result(1, label="person", model=model.title, sha=model.sha256[:8]), "people")
        room.wait_acked(1, "people")
        room.wait(lambda: room.report and room.report.faulty, "report of the fault")
        assert room.report
        assert (room.report.connected, room.report.outbox.pending) == (True, 0)
