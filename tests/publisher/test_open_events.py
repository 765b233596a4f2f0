"""What is open is ended by whoever is left, once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import ABSENT, decode_json, replace
from edge_infer.contract.messages import Event
from edge_infer.contract.topics import Place
from edge_infer.ipc.crash_safe_note import CrashSafeNote, new_note
from edge_infer.ipc.messages import ApplyPlan, EngineDown, EngineHello, EngineUp, Handover, Stop, handover
from edge_infer.plan.records import ZonePlan
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.interface import MessageSeries
from edge_infer.publisher.state.open_events import (
    AHEAD,
    AROUND,
    FILE,
    MOST,
    MOST_BYTES,
    PAGE,
    SAVED,
    WEAR,
    WRITE_EVERY,
    EventNotes,
    OpenEvents,
    events_of,
)
from tests.broker import DEADLINE, Broker, Subscriber, eventually
from tests.faults.gate import Gate
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
    known.note(handover("door", appear(1)))
    known.note(handover("door", appear(2, 2)))
    known.note(handover("door", replace(appear(3), type="leave")))
    assert ends(known.end("engine_failed", lambda _: True)) == [("leave", 3 + 1, 2, "engine_failed")]


def test_zones_end_before_the_objects_in_them_and_numbers_go_on() -> None:
    known = OpenEvents()
    known.note(handover("door", appear(1)))
    known.note(handover("door", enter(2)))
    known.note(handover("door", replace(appear(3), type="cross", line="gate")))
    found = known.end("engine_failed", lambda boot: boot == BOOT)
    assert ends(found) == [("exit", 4, 1, "engine_failed"), ("leave", 5, 1, "engine_failed")]
    assert all(event.since == TS and event.box is ABSENT for _, event in events_of(found))
    for ended in found:
        known.note(ended)
    assert known.end("stopped", lambda _: True) == ()


def test_it_is_remembered_over_a_power_cut_and_no_number_is_used_twice(tmp_path: Path) -> None:
    before = OpenEvents()
    before.load(tmp_path)
    before.note(handover("door", appear(1)))
    before.note(handover("door", enter(2)))
    before.save()
    before.note(handover("door", appear(3, 2)))
    before.save()  # too soon for the card
    after = OpenEvents()
    after.load(tmp_path)
    after.reached("door", BOOT, 2)
    found = after.end("engine_failed", lambda _: True)
    assert [each[:2] for each in ends(found)] == [("exit", 3 + AHEAD), ("leave", 4 + AHEAD)]
    assert [event.skipped for _, event in events_of(found)] == [AHEAD, ABSENT]
    after.reached("door", BOOT, 3)  # the outbox knows more
    assert [event.skipped for _, event in events_of(after.end("engine_failed", lambda _: True))] == [AHEAD - 1, ABSENT]
    after.note(found[0])
    assert [event.skipped for _, event in events_of(after.end("engine_failed", lambda _: True))] == [ABSENT]


def written(folder: Path, known: OpenEvents) -> bool:
    """Whether saving it now writes the file."""
    (folder / FILE).unlink(missing_ok=True)
    known.save()
    return (folder / FILE).exists()


def test_the_card_is_written_seldom(tmp_path: Path) -> None:
    now = 0.0
    known = OpenEvents(EventNotes(clock=lambda: now))
    known.load(tmp_path)
    times, seconds = 0, 1000
    for second in range(seconds):
        now = float(second)
        known.note(handover("door", appear(2 * second + 1, second)))
        known.note(handover("door", replace(appear(2 * second + 2, second - 1), type="leave")))
        known.settle(MessageSeries("door", BOOT, "event"), 2 * second + 2)
        times += written(tmp_path, known)
    each = (1 + AROUND) * PAGE
    assert 2 * seconds / AHEAD <= times <= seconds * WEAR / each + SAVED + 1 + 2 * seconds / AHEAD
    now += SAVED * each / WEAR
    assert written(tmp_path, known)
    known.note(handover("door", appear(2 * seconds + 1, seconds)))
    now += WRITE_EVERY - 1
    assert not written(tmp_path, known)
    now += 1
    assert written(tmp_path, known), "after a rest it is soon"
    now += WRITE_EVERY + 1
    assert not written(tmp_path, known), "nothing has changed"


def test_numbers_do_not_run_away_from_the_card(tmp_path: Path) -> None:
    known = OpenEvents(EventNotes(clock=lambda: 0.0))
    known.load(tmp_path)
    known.note(handover("door", appear(1)))
    assert written(tmp_path, known)
    for seq in range(2, 1 + AHEAD):
        known.note(handover("door", replace(appear(seq), type="cross", line="gate")))
        assert not written(tmp_path, known)
    known.note(handover("door", replace(appear(1 + AHEAD), type="cross", line="gate")))
    assert written(tmp_path, known)


@pytest.fixture
def process() -> Iterator[Callable[[Path], OpenEvents]]:
    """What one publisher after the other knows, over a slate."""
    fd, held = new_note(), []

    def begin(folder: Path) -> OpenEvents:
        held.append(CrashSafeNote(os.dup(fd)))
        known = OpenEvents(EventNotes(held[-1]))
        known.load(folder)
        return known

    yield begin
    for slate in held:
        slate.close()
    os.close(fd)


def test_a_kill_of_both_rooms_forgets_no_begin(tmp_path: Path, process: Callable[[Path], OpenEvents]) -> None:
    before = process(tmp_path)
    for number in range(1, 6):
        before.note(handover("door", appear(number, number)))
        before.save()
    after = process(tmp_path)
    assert [each[:3] for each in ends(after.end("engine_failed", lambda _: True))] == [
        ("leave", 5 + number, number) for number in range(1, 6)
    ]


def test_an_end_that_died_with_both_rooms_is_said_again(tmp_path: Path, process: Callable[[Path], OpenEvents]) -> None:
    before = process(tmp_path)
    before.note(handover("door", appear(1)))
    before.note(handover("door", appear(2, 2)))
    before.note(handover("door", replace(appear(3), type="leave")))
    before.note(handover("door", replace(appear(4, 2), type="leave")))
    before.settle(MessageSeries("door", BOOT, "event"), 3)
    assert before.end("stopped", lambda _: True) == (), "not by the process that took it"
    before.save()
    after = process(tmp_path)
    assert ends(after.end("engine_failed", lambda _: True)) == [("leave", 5, 2, "engine_failed")]
    after.settle(MessageSeries("door", BOOT, "event"), 4, heard=True)  # the outbox knows the end
    assert after.end("engine_failed", lambda _: True) == ()


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
    events = [decode_json(Event, heard.payload) for heard in broker.on(f"{P}/door/event")]
    return [(event.type, event.boot, event.seq, event.reason) for event in events]


def test_an_engine_that_dies_has_its_events_ended(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(tmp_path)))
        room.engine.send(EngineHello(BOOT))
        room.engine.send(handover("door", appear(1)))
        eventually(lambda: len(told(heard)) == 1, "the begin")
        room.tell(EngineDown("engine_failed", BOOT))
        eventually(lambda: len(told(heard)) == 2, "the end")
        room.tell(EngineUp(OTHER))
        room.engine.send(handover("door", appear(1, boot=OTHER)))
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
            room.engine.send(handover("door", appear(1)))
            eventually(lambda: (tmp_path / "publisher" / FILE).exists() and len(told(heard)) == 1, "the begin, on disk")
        with Room() as room:
            room.greet = False
            room.start(here)
            room.tell(EngineUp(OTHER))
            room.engine.send(EngineHello(OTHER))
            room.engine.send(handover("door", appear(1, boot=OTHER)))
            eventually(lambda: len(told(heard)) == 3, "what comes after")
            room.wait(lambda: room.report and room.report.outbox.delivered >= 2, "everything delivered")
            assert told(heard)[1:] == [("leave", BOOT, 2 + AHEAD, "engine_failed"), ("appear", OTHER, 1, ABSENT)]
            assert heard.on(f"{P}/door/event")[1].value["skipped"] == AHEAD
            assert room.report
            assert (room.report.outbox.lost, room.report.outbox.produced) == ({"unknown": 1}, 3)


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("before the stop", "before the start"),
        ("before the stop", "after the start"),
        ("during the stop", "after the start"),
        ("after the stop", "before the start"),
    ],
)
def test_an_orderly_stop_ends_it_once_whatever_the_broker_does(
    broker: Broker, tmp_path: Path, away: str, back: str
) -> None:
    with Gate(broker.port) as gate, Subscriber(broker.port) as heard:
        here = plan(mqtt_plan(gate.port), state_dir=str(tmp_path))
        with Room() as room:
            room.start(here)
            room.wait_connected()
            room.say(EngineHello(BOOT))
            room.hand_over(appear(1))
            eventually(lambda: len(told(heard)) == 1 and (tmp_path / "publisher" / FILE).exists(), "the begin")
            if away == "before the stop":
                gate.close()
            elif away == "during the stop":
                broker.send(signal.SIGSTOP)
            assert room.stop() == 0
        gate.close()
        broker.send(signal.SIGCONT)
        with Room() as room:
            if back == "before the start":
                gate.open()
            room.start(here)
            room.tell(EngineUp(OTHER))
            if back == "after the start":
                room.wait_told("nothing listens")
                gate.open()
            room.wait_connected()
            room.say(EngineHello(OTHER))
            room.hand_over(appear(1, boot=OTHER))
            eventually(lambda: ("appear", OTHER, 1, ABSENT) in told(heard), "what comes after")
            room.wait(lambda: room.report and not room.report.outbox.pending, "everything delivered")
            assert set(told(heard)) == {
                ("appear", BOOT, 1, ABSENT),
                ("leave", BOOT, 2, "stopped"),
                ("appear", OTHER, 1, ABSENT),
            }
            assert room.report
            assert room.report.outbox.lost == {}


def test_only_the_publisher_leaves_out_numbers(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as heard:
        room.start(plan(mqtt_plan(broker.port)))
        room.say(EngineHello(BOOT))
        room.hand_over(replace(appear(5), skipped=4))
        (event,) = heard.first(1, f"{P}/door/event")
        assert "skipped" not in event.value
        room.wait(lambda: room.report and room.report.outbox.lost == {"handover": 4}, "a loss that is counted")


def test_when_both_rooms_were_killed_what_just_began_is_ended(broker: Broker, tmp_path: Path) -> None:
    here = plan(mqtt_plan(broker.port), state_dir=str(tmp_path))
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(here)
        room.say(EngineHello(BOOT))
        for number in range(1, 4):
            room.hand_over(appear(number, number))
            eventually(lambda number=number: len(told(heard)) == number, "a begin")
        room.kill()
        room.start()
        room.tell(ApplyPlan(here))
        room.tell(EngineDown("engine_failed", BOOT))
        room.tell(EngineUp(OTHER))
        eventually(lambda: len(told(heard)) == 6, "their ends")
        assert told(heard)[3:] == [("leave", BOOT, number, "engine_failed") for number in (4, 5, 6)]


def test_as_many_of_the_longest_as_are_remembered_fit(tmp_path: Path, process: Callable[[Path], OpenEvents]) -> None:
    known = process(tmp_path)
    longest = replace(enter(1), label="x" * 128, zone="z" * 64, score=0.123)
    for number in range(1, MOST + 11):
        known.note(handover("p" * 64, replace(longest, seq=number, id=number)))
    known.save(now=True)
    assert len(process(tmp_path).begun()) == MOST
    known.settle(MessageSeries("p" * 64, BOOT, "event"), 1)
    assert len((tmp_path / FILE).read_bytes()) < MOST_BYTES
