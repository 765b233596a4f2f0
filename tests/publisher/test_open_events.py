"""What is open is ended by whoever is left, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import ABSENT, Absent, decode_json, dumps, replace
from edge_infer.contract.messages import Event, timestamp
from edge_infer.contract.topics import Place
from edge_infer.ipc.crash_safe_note import CrashSafeNote, new_note
from edge_infer.ipc.messages import (
    ApplyPlan,
    EngineDown,
    EngineHello,
    EngineUp,
    EventHandover,
    Handover,
    Stop,
    handover,
)
from edge_infer.plan.records import ZonePlan
from edge_infer.platform.clock import new_boot, uptime
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.entry import MessageSeries
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
    Noted,
    OpenEvents,
    events_of,
)
from edge_infer.publisher.timestamps import Clock, seconds
from tests.broker import DEADLINE, Broker, Subscriber, eventually, free_port
from tests.faults.gate import Gate
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, TS, P, mqtt_plan, plan, result

OTHER = "777777"


def appear(seq: int, number: int = 1, boot: str = BOOT) -> Event:
    return Event(1, TS, boot, seq, "appear", label="face", id=number, score=0.9, box=(0.1, 0.1, 0.2, 0.2), since=TS)


def enter(seq: int, number: int = 1) -> Event:
    return replace(appear(seq, number), type="enter", zone="drive")


def ends(found: tuple[Handover, ...]) -> list[tuple[str, int, object, object]]:
    return [(event.type, event.seq, event.id, event.reason) for _, event in events_of(found)]


def test_an_end_that_comes_again_with_its_number_ends_its_event_once(tmp_path: Path) -> None:
    """Its begin event has paid for it, also if a publisher died before the end event was safe."""
    first = OpenEvents()
    first.load(tmp_path)
    end = replace(appear(2), type="leave")
    for event in (appear(1), end):
        first.note(handover("door", event))
    assert not first.is_open("door", end)
    assert first.finish()
    second = OpenEvents()
    second.load(tmp_path)
    assert second.is_open("door", end)
    assert not second.is_open("door", replace(end, seq=3))
    second.note(handover("door", end))
    assert not second.is_open("door", end)


def test_an_event_that_began_and_ended_several_times_is_open_for_each_end_that_comes_again(tmp_path: Path) -> None:
    first = OpenEvents()
    first.load(tmp_path)
    again = [replace(appear(seq), type="leave" if seq % 2 == 0 else "appear") for seq in range(1, 7)]
    for event in again:
        first.note(handover("door", event))
    assert first.finish()
    second = OpenEvents()
    second.load(tmp_path)
    for event in again[1:]:  # the first begin is safe
        assert second.is_open("door", event) or event.type == "appear"
        second.note(handover("door", event))
    assert not second.is_open("door", replace(again[-1], seq=7))


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


@pytest.mark.parametrize("finished", [False, True])
def test_what_only_memory_knew_goes_to_the_file_after_a_kill(
    finished: bool, tmp_path: Path, process: Callable[[Path], OpenEvents]
) -> None:
    """The file is older: it has an event as open that has ended, and lacks one that is open."""
    first = process(tmp_path)
    first.note(handover("door", appear(1)))
    first.save()
    first.note(handover("door", appear(2, 2)))
    first.note(handover("door", replace(appear(3), type="leave")))
    first.settle(MessageSeries("door", BOOT, "event"), 3)
    first.save()  # to memory alone: the file may not be written again so soon
    assert b'"seq":2' not in (tmp_path / FILE).read_bytes()
    second = process(tmp_path)
    if finished:
        assert second.finish()
    else:
        second.save()
    third = OpenEvents()
    third.load(tmp_path)
    assert [each.message.seq for each in third.begun()] == [2]


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


FIRST, LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
START, END = -62135596800.0, 253402300799.999999
"""The first and the last moment of the calendar."""


@pytest.mark.parametrize("ts", [FIRST, TS, LAST, "2026-99-99T99:99:99.999Z"])
@pytest.mark.parametrize("since", [FIRST, LAST, "0000-00-00T00:00:00.000Z", ABSENT])
@pytest.mark.parametrize("at", [None, 0.0, 1e10])
@pytest.mark.parametrize("boot", [BOOT, new_boot()], ids=["earlier kernel", "this kernel"])
def test_whatever_dates_an_earlier_process_noted_the_event_ends(
    tmp_path: Path, ts: str, since: str | Absent, at: float | None, boot: str
) -> None:
    begun = EventHandover("door", replace(appear(1, boot=boot), ts=ts, since=since), at)
    ((pipeline, ended),) = events_of((_ended_by_the_next(tmp_path, begun),))
    egress = Egress(Clock(says=lambda _: True))
    egress.recall([(pipeline, ended)])
    for moment in (None, uptime()):
        assert egress.admit(Place("event", pipeline), ended, moment, own=True), "the end leaves"


def at_edge(number: int, since: str, edge: float, boot: str) -> tuple[Event, float]:
    """An event that is dated to within microseconds of an end of the calendar, when it is taken and when it ends."""
    ahead, ts = time.time() - uptime(), timestamp(time.time() - 10)
    at = edge - (seconds(since) - seconds(ts)) - ahead + (number % 200 - (100 if edge == START else 150)) * 1e-6
    return replace(appear(number, number, boot), ts=ts, since=since), at


@pytest.mark.parametrize(("since", "edge"), [(FIRST, START), (LAST, END)])
def test_a_begin_at_an_end_of_the_calendar_is_ended_if_it_is_taken(since: str, edge: float) -> None:
    egress, known = Egress(Clock(says=lambda _: True)), OpenEvents()
    egress.recall([("door", appear(1))])
    for number in range(1, 501):
        event, at = at_edge(number, since, edge, new_boot())
        if egress.admit(Place("event", "door"), event, at, own=True):
            known.note(handover("door", event, at))
    assert bool(known.begun()) == (edge == START), "nothing begins after its own time"
    for _, ended in events_of(known.end("engine_failed", lambda _: True)):
        assert egress.admit(Place("event", "door"), ended, uptime(), own=True)


def test_an_event_lasts_as_long_as_before_whatever_the_clock_did() -> None:
    begun = replace(appear(1, boot=new_boot()), ts="1970-01-01T00:01:00.000Z", since="1970-01-01T00:00:50.000Z")
    known = OpenEvents()
    known.note(handover("door", begun, uptime() - 100.0))
    ((_, ended),) = events_of(known.end("engine_failed", lambda _: True))
    assert seconds(ended.ts) - seconds(str(ended.since)) == pytest.approx(110.0, abs=5.0)


def test_a_note_that_is_no_begin_is_dropped_and_the_others_end(tmp_path: Path) -> None:
    odd = [EventHandover("door", replace(appear(seq), type=kind)) for seq, kind in ((1, "loiter"), (2, "leave"))]
    ended = _ended_by_the_next(tmp_path, *odd, EventHandover("door", appear(3)))
    assert (ended.message.type, ended.message.id) == ("leave", 1)


def _ended_by_the_next(folder: Path, *begun: EventHandover) -> EventHandover:
    """What the next process ends of the begins that an earlier one noted: one event."""
    (folder / FILE).write_bytes(dumps(Noted(begun)))
    known = OpenEvents()
    known.load(folder)
    (ended,) = known.end("engine_failed", lambda _: True)
    return decode_json(EventHandover, dumps(ended))


@pytest.mark.parametrize("left", range(4))
def test_numbers_end_with_those_that_can_be_told(
    tmp_path: Path, process: Callable[[Path], OpenEvents], left: int, caplog: pytest.LogCaptureFixture
) -> None:
    known = process(tmp_path)
    for number in range(1, 4):
        known.note(handover("door", appear(2**53 - left - 3 + number, number)))
    known.note(handover("yard", appear(1)))
    found = known.end("engine_failed", lambda _: True)
    assert [event.seq for place, event in events_of(found) if place == "door"] == [
        2**53 - left + number for number in range(1, left + 1)
    ]
    assert [event.seq for place, event in events_of(found) if place == "yard"] == [2]
    for ended in found:
        known.note(ended)
    assert (f"has used all its message numbers, so {3 - left} event(s) stay open" in caplog.text) == (left < 3)
    known.save(now=True)
    noted = {each.pipeline for each in process(tmp_path).begun()}
    assert "yard" in noted, "numbers of one pipeline cost another one nothing"


def test_numbers_that_are_skipped_after_a_power_cut_stay_numbers(tmp_path: Path) -> None:
    for _ in range(2):
        known = OpenEvents()
        known.load(tmp_path)
        known.note(handover("door", appear(2**53 - 5)))
        known.note(handover("yard", appear(1)))
        known.save(now=True)
    again = OpenEvents()
    again.load(tmp_path)
    assert {each.pipeline for each in again.begun()} == {"door", "yard"}


def test_no_date_of_an_engine_ends_the_publisher(broker: Broker, tmp_path: Path) -> None:
    here, mine = plan(mqtt_plan(broker.port), state_dir=str(tmp_path)), new_boot()
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(here)
        room.tell(EngineUp(mine))
        room.say(EngineHello(mine))
        for number in range(1, 301):
            room.say(handover("door", *at_edge(number, LAST, END, mine)))
        room.say(handover("door", replace(appear(301, 301, mine), since=ABSENT), 1e10))
        eventually(lambda: [each[2] for each in told(heard)] == [301], "the one with a date that can be")
        room.tell(EngineDown("engine_failed", mine))
        eventually(lambda: told(heard)[1:] == [("leave", mine, 302, "engine_failed")], "its end")
        assert room.stop() == 0


def test_numbers_at_their_end_cost_other_pipelines_no_waiting_message(broker: Broker, tmp_path: Path) -> None:
    here = plan(mqtt_plan(free_port()), pipelines=("door", "yard"), state_dir=str(tmp_path))
    with Room() as room:
        room.start(here)
        room.say(EngineHello(BOOT))
        room.hand_over(result(1), "yard")
        for number in range(3):
            room.hand_over(appear(2**53 - 2 + number, number + 1))
        room.wait_acked(1, "yard")
        room.tell(EngineDown("engine_failed", BOOT))
        assert room.stop() == 0
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(replace(here, mqtt=mqtt_plan(broker.port)))
        eventually(lambda: heard.on(f"{P}/yard/result"), "what waited")
        eventually(lambda: len(told(heard)) == 3, "the events")
        assert room.stop() == 0
    assert not list(tmp_path.rglob("*.corrupt"))


def test_a_pipeline_that_is_gone_may_still_say_the_end() -> None:
    egress = Egress()
    egress.apply(plan(mqtt_plan(1883)))
    gone = replace(enter(1), type="exit")
    place = Place("event", "attic")
    assert egress.admit(place, gone, own=True) is None
    egress.recall([("attic", enter(1))])
    assert egress.admit(place, gone, own=True) is not None
    assert egress.admit(place, replace(gone, zone="secret"), own=True) is None
    assert egress.admit(place, gone) is None, "an engine says nothing of it"


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
            assert (room.report.outbox.lost, room.report.outbox.produced) == ({}, 2)  # the begin was in no commit


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
