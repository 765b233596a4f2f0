"""What is open is ended by whoever is left, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_infer.codec import ABSENT, decode, loads
from edge_infer.config.plan import ZonePlan
from edge_infer.messages import Event
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.open_events import FILE, OpenEvents, events_of
from edge_infer.publisher.topics import Place
from edge_infer.rooms import EngineDown, EngineHello, EngineUp, Handover, Stop
from tests.broker import DEADLINE, Broker, Subscriber, eventually
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, mqtt_plan, plan

OTHER = "777777"


def appear(seq: int, number: int = 1, boot: str = BOOT) -> Event:
    return Event(1, TS, boot, seq, "appear", label="face", id=number, score=0.9, box=(0.1, 0.1, 0.2, 0.2), since=TS)


def enter(seq: int, number: int = 1) -> Event:
    return replace(appear(seq, number), type="enter", zone="drive")


def ends(found: tuple[Handover, ...]) -> list[tuple[str, int, object, object]]:
    return [(event.type, event.seq, event.id, event.reason) for _, event in events_of(found)]


def test_what_ended_is_not_ended_again() -> None:
    known = OpenEvents()
    known.note(Handover("door", appear(1)))
    known.note(Handover("door", appear(2, 2)))
    known.note(Handover("door", replace(appear(3), type="leave")))
    assert ends(known.end("engine_failed", lambda _: True)) == [("leave", 3 + 1, 2, "engine_failed")]


def test_zones_end_before_the_objects_in_them_and_numbers_go_on() -> None:
    known = OpenEvents()
    known.note(Handover("door", appear(1)))
    known.note(Handover("door", enter(2)))
    known.note(Handover("door", replace(appear(3), type="cross", line="gate")))
    found = known.end("engine_failed", lambda boot: boot == BOOT)
    assert ends(found) == [("exit", 4, 1, "engine_failed"), ("leave", 5, 1, "engine_failed")]
    assert all(event.since == TS and event.box is ABSENT for _, event in events_of(found))
    for ended in found:
        known.note(ended)
    assert known.end("stopped", lambda _: True) == ()


def test_it_is_remembered_over_a_power_cut(tmp_path: Path) -> None:
    before = OpenEvents()
    before.load(tmp_path)
    before.note(Handover("door", appear(1)))
    before.note(Handover("door", enter(2)))
    before.save()
    after = OpenEvents()
    after.load(tmp_path)
    assert [found[:2] for found in ends(after.end("engine_failed", lambda _: True))] == [("exit", 3), ("leave", 4)]


def test_a_broken_file_is_told_and_forgotten(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"begun":[{"pipeline":"door"')
    known = OpenEvents()
    known.load(tmp_path)
    assert known.begun() == ()


def test_a_pipeline_that_is_gone_may_still_say_the_end() -> None:
    egress = Egress()
    egress.apply(plan(mqtt_plan(1883)))
    gone = replace(enter(1), type="exit")
    place = Place("event", "attic")
    assert egress.admit(place, gone) is None
    egress.recall([("attic", enter(1))])
    assert egress.admit(place, gone) is not None
    assert egress.admit(place, replace(gone, zone="secret")) is None


def test_a_place_that_is_not_configured_stays() -> None:
    egress = Egress()
    sound = plan(mqtt_plan(1883))
    zone = ZonePlan("drive", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    egress.apply(replace(sound, pipelines=(replace(sound.pipelines[0], zones=(zone,)),)))
    assert egress.admit(Place("event", "door"), enter(1)) is not None
    assert egress.admit(Place("event", "door"), replace(enter(2), zone="aW1hZ2U")) is None
    assert egress.admit(Place("event", "door"), replace(appear(3), label="aW1hZ2U")) is None


def told(broker: Subscriber) -> list[tuple[str, str, int, object]]:
    events = [decode(Event, loads(heard.payload)) for heard in broker.on(f"{P}/door/event")]
    return [(event.type, event.boot, event.seq, event.reason) for event in events]


def test_an_engine_that_dies_has_its_events_ended(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(tmp_path)))
        room.engine.send(EngineHello(BOOT))
        room.engine.send(Handover("door", appear(1)))
        eventually(lambda: len(told(heard)) == 1, "the begin")
        room.tell(EngineDown("engine_failed", BOOT))
        eventually(lambda: len(told(heard)) == 2, "the end")
        room.tell(EngineUp(OTHER))
        room.engine.send(Handover("door", appear(1, boot=OTHER)))
        eventually(lambda: len(told(heard)) == 3, "the next engine")
        assert told(heard) == [
            ("appear", BOOT, 1, ABSENT),
            ("leave", BOOT, 2, "engine_failed"),
            ("appear", OTHER, 1, ABSENT),
        ]


def test_a_publisher_that_is_replaced_ends_nothing(broker: Broker, tmp_path: Path) -> None:
    here = plan(mqtt_plan(broker.port), state_dir=str(tmp_path))
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(here)
        room.say(EngineHello(BOOT))
        room.hand_over(appear(1))
        eventually(lambda: len(told(heard)) == 1, "the begin")
        room.tell(Stop(replaced=True))
        assert room.process is not None
        room.process.wait(DEADLINE)
        room.start(here)
        room.wait(lambda: room.hellos, "its greeting")
        room.hand_over(appear(2, 2))
        room.hand_over(replace(appear(3), type="leave", box=ABSENT))
        eventually(lambda: ("leave", BOOT, 3, ABSENT) in told(heard), "what comes after")
        assert [each[:3] for each in told(heard)] == [("appear", BOOT, 1), ("appear", BOOT, 2), ("leave", BOOT, 3)]


def test_when_everything_was_killed_the_next_start_ends_it_first(broker: Broker, tmp_path: Path) -> None:
    here = plan(mqtt_plan(broker.port), state_dir=str(tmp_path))
    with Subscriber(broker.port) as heard:
        with Room() as room:
            room.start(here)
            room.engine.send(EngineHello(BOOT))
            room.engine.send(Handover("door", appear(1)))
            eventually(lambda: (tmp_path / "publisher" / FILE).exists() and len(told(heard)) == 1, "the begin, on disk")
        with Room() as room:
            room.start(here)
            room.tell(EngineUp(OTHER))
            room.engine.send(EngineHello(OTHER))
            room.engine.send(Handover("door", appear(1, boot=OTHER)))
            eventually(lambda: len(told(heard)) == 3, "what comes after")
        assert told(heard)[1:] == [("leave", BOOT, 2, "engine_failed"), ("appear", OTHER, 1, ABSENT)]
