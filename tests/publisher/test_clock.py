"""Boards that do not know what time it is: told as unsynced, kept with the uptime, corrected, never moved by a step."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.contract.messages import Event, Result, State, timestamp
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.frames.frame import JUMP, Instant
from edge_infer.ipc.messages import EngineDown, EngineHello, EngineUp, StateSnapshot, handover
from edge_infer.plan.records import TlsPlan
from edge_infer.platform.clock import ConvertedClock, kernel_tag, new_boot, of_this_kernel, uptime
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.state.retained import Retained
from edge_infer.publisher.state.unknown_states import States
from edge_infer.publisher.timestamps import Clock, keep, kept
from tests.broker import Broker, Certificates, Subscriber, free_port
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, SHA, TS, P, mqtt_plan, plan, result, state

YEARS = 50 * 365.25 * 86400
NOW = 1800000000.0
NOW_SHOWN = "2027-01-15T08:00:00.000Z"
DOOR = Place("result", "door")


class Hands:
    """A clock to be set by hand: what it shows, how long the kernel has run, whether a time service has spoken."""

    def __init__(self, wall: float = NOW, known: bool | None = False) -> None:
        self.shown, self.ran, self.known = wall, 100.0, known
        self.clock = Clock(says=lambda _: self.known, wall=lambda: self.shown, uptime=lambda: self.ran)

    def passes(self, seconds: float) -> None:
        self.shown += seconds
        self.ran += seconds

    def guard(self) -> Egress:
        egress = Egress(self.clock)
        egress.apply(plan(mqtt_plan(1883)))
        return egress


def at(seconds: str) -> float:
    return datetime.fromisoformat(seconds.replace("Z", "+00:00")).timestamp()


def test_a_known_time_is_told_from_the_uptime_whatever_the_engine_saw() -> None:
    hands = Hands(known=True)
    told = hands.clock.dated(result(1), 40.0)
    assert (told.ts, told.clock) == ("2027-01-15T07:59:00.000Z", ABSENT)


@pytest.mark.parametrize("step", [YEARS, -YEARS, 1.0, -1.0, 86400.0], ids=["+50 y", "-50 y", "leap", "back", "day"])
def test_a_step_changes_what_is_said_later_and_nothing_that_was_taken(step: float) -> None:
    hands = Hands(known=True)
    before = hands.guard().admit(DOOR, result(1), 100.0)
    hands.shown += step
    guard = hands.guard()
    assert before
    assert NOW_SHOWN.encode() in before
    assert guard.release(DOOR, before) == before
    after = hands.clock.dated(result(2), 100.0)
    assert at(after.ts) == pytest.approx(NOW + step)
    assert after.clock is ABSENT


def test_times_go_back_only_with_the_clock() -> None:
    """At the second and fourth time the thread is interrupted between its readings; then the clock is set."""
    shown = iter([100.0, 100.001, 100.05, 100.06, 100.4, 40.47, 40.47, 200.48])
    base = iter([10.0, 10.041, 10.05, 10.4, 10.4, 10.47, 10.47, 10.48])
    clock = ConvertedClock(lambda: next(shown), lambda: next(base))
    times = [clock.at(moment) for moment in (10.0, 10.001, 10.05, 10.06, 10.47, 10.48)]
    assert times == pytest.approx([100.0, 100.001, 100.05, 100.06, 40.47, 200.48])


def test_the_time_of_a_capture_does_not_depend_on_an_interruption() -> None:
    hands = Hands(known=True)
    before = hands.clock.dated(result(1), 99.0)
    hands.ran += 0.04  # between the readings of the two clocks
    assert hands.clock.dated(result(2), 99.0).ts == before.ts


def test_sleep_counts_as_time() -> None:
    hands = Hands(known=True)
    hands.passes(8 * 3600)  # the time since the kernel started goes on while the board sleeps
    assert hands.clock.dated(result(1), hands.ran).ts == "2027-01-15T16:00:00.000Z"


def test_what_waits_is_corrected_once_the_time_is_known() -> None:
    hands = Hands(wall=0.0)  # no battery: 1970
    guard, mine = hands.guard(), new_boot()
    waiting = guard.admit(DOOR, result(1, boot=mine), 99.5)
    assert waiting
    said = guard.release(DOOR, waiting)
    assert said
    assert b'"ts":"1970-01-01T00:01:39.500Z"' in said
    assert b'"clock":"unsynced"' in said
    hands.passes(30.0)
    hands.shown, hands.known = NOW + 30.0, True
    assert hands.clock.look()
    assert not hands.clock.look(), "it is told once"
    said = guard.release(DOOR, waiting, late=True)
    assert said
    assert b'"ts":"2027-01-15T07:59:59.500Z"' in said
    assert b'"clock"' not in said
    assert b'"replay":true' in said


def test_a_clock_that_shows_something_likely_is_the_best_guess() -> None:
    hands = Hands(wall=NOW - 3600.0)  # where it was when the board was switched off
    guard, mine = hands.guard(), new_boot()
    waiting = guard.admit(DOOR, result(1, boot=mine), 100.0)
    assert waiting
    said = guard.release(DOOR, waiting)
    assert said
    assert b'"ts":"2027-01-15T07:00:00.000Z"' in said
    assert b'"clock":"unsynced"' in said


def test_what_an_earlier_kernel_left_stays_unsynced() -> None:
    hands = Hands(wall=0.0)
    waiting = hands.guard().admit(DOOR, result(1, boot="000000" + "12345678"), 99.5)
    assert waiting
    hands.shown, hands.known = NOW, True
    assert hands.clock.look()
    said = hands.guard().release(DOOR, waiting, late=True)
    assert said
    assert b'"ts":"1970-01-01T00:01:39.500Z"' in said
    assert b'"clock":"unsynced"' in said


def test_an_event_and_what_it_began_with_move_together() -> None:
    hands = Hands(known=True)
    event = Event(1, "1970-01-01T00:01:40.000Z", BOOT, 1, "end", since="1970-01-01T00:01:30.000Z")
    told = hands.clock.dated(event, 100.0)
    assert isinstance(told, Event)
    assert (told.ts, told.since) == (NOW_SHOWN, "2027-01-15T07:59:50.000Z")
    with pytest.raises(WireError, match="calendar"):
        hands.clock.dated(replace(event, since="2026-99-99T99:99:99.999Z"), 100.0)


@pytest.mark.parametrize("uptime", [9e300, 1e18, -1e15])
def test_a_time_on_no_calendar_is_a_rejected_message_and_no_end(uptime: float) -> None:
    hands = Hands(known=True)
    event = Event(1, "0001-01-01T00:00:00.000Z", BOOT, 1, "end", since="9999-12-31T23:59:59.999Z")
    for moment in (100.0, uptime):
        with pytest.raises(WireError, match="calendar"):
            hands.clock.dated(event, moment)
    with pytest.raises(WireError, match="calendar"):
        hands.clock.dated(replace(event, ts=TS, since=ABSENT), uptime)
    waiting = b"%r " % uptime + dumps(replace(event, ts=TS, since=ABSENT, boot=new_boot()))
    assert hands.guard().release(Place("event", "door"), waiting) is None


@pytest.mark.parametrize("moment", [None, 100.0], ids=["its own time", "dated"])
@pytest.mark.parametrize("since", ["2026-11-25T08:45:12.346Z", "9999-12-31T23:59:59.999Z", "2026-02-30T00:00:00.000Z"])
def test_what_begins_after_its_own_time_or_on_no_day_is_rejected(since: str, moment: float | None) -> None:
    guard = Hands(known=True).guard()
    event = Event(1, TS, BOOT, 1, "start", label="face", since=TS)
    assert guard.admit(Place("event", "door"), event, moment)
    assert guard.admit(Place("event", "door"), replace(event, since=since), moment) is None
    assert guard.admit(Place("state", "door"), replace(state(1), since=since), moment) is None
    assert guard.release(Place("event", "door"), dumps(replace(event, since=since))) is None
    assert guard.rejected == 3


@pytest.mark.parametrize("step", [-JUMP / 2, -3600.0, 3600.0])
def test_a_step_of_the_clock_puts_no_begin_after_the_event(step: float) -> None:
    now, begin = Instant(100.0, NOW + step), Instant(99.9, NOW - 0.1)
    assert now.wall - JUMP <= now.of(begin) <= now.wall


def test_a_null_state_stays_known_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hands, retained = Hands(known=True), Retained()
    here, ticks = plan(mqtt_plan(1883)), [0.0]
    monkeypatch.setattr(time, "time", lambda: hands.shown)
    states = States(retained, hands.guard(), lambda: hands.ran, lambda: ticks[0])
    states.apply(here)
    states.all_null("engine_failed")
    hands.shown -= 3600
    for say in (lambda: states.again(0.0), lambda: states.all_null("engine_failed")):
        say()
        said = decode_json(State, retained.values()[Place("state", "door")])
        assert (said.reason, said.ts, said.since) == ("engine_failed", timestamp(hands.shown), timestamp(hands.shown))


@pytest.mark.parametrize(
    ("said", "shown", "known"),
    [(True, 0.0, True), (False, NOW, False), (None, NOW, True), (None, 0.0, False)],
    ids=["a service has set it", "none has", "nobody says", "nobody says, 1970"],
)
def test_who_is_believed(said: bool | None, shown: float, known: bool) -> None:
    assert Hands(shown, said).clock.known is known


def test_known_is_known_while_the_service_is_away() -> None:
    hands = Hands(known=True)
    hands.known = False
    hands.clock.look()
    assert hands.clock.known


def test_what_waits_is_told_from_what_is_sent() -> None:
    assert kept(keep(b'{"v":1}', 12.3456)) == (12.346, b'{"v":1}')
    assert kept(b"online") == (None, b"online")
    assert kept(b"") == (None, b"")
    with pytest.raises(WireError):
        kept(b"1x {}")


def test_a_boot_tells_its_kernel() -> None:
    assert of_this_kernel(new_boot())
    assert new_boot() != new_boot()
    assert not of_this_kernel("000000000000")
    assert not of_this_kernel(kernel_tag()), "an id of six digits is an older one"
    decoded = Result(1, TS, new_boot(), 1, "m", SHA[:8], "detection", objects=())
    assert isinstance(decoded, Result)
    assert abs(uptime(time.monotonic()) - uptime()) < 1.0


def test_a_board_that_learns_the_time_tells_it_of_what_was_before(
    broker: Broker, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, mine = tmp_path / "clock", new_boot()
    monkeypatch.setenv("CLOCK", str(clock))
    clock.write_text(f"no {-time.time()}")
    room.program = "tests.publisher.clockless"
    began = uptime()
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.greet = False
        room.wait(lambda: room.hellos, "greeting")
        room.tell(EngineUp(mine))
        room.say(EngineHello(mine))
        room.say(StateSnapshot("door", state(2, boot=mine), began))
        room.say(handover("door", result(1, boot=mine), began))
        early = subscriber.wait(f"{P}/door/result").value
        assert early["clock"] == "unsynced"
        assert early["ts"].startswith("1970-01-"), "1970 and the uptime of this machine"
        assert subscriber.wait(f"{P}/health").value["clock"] == "unsynced"
        clock.write_text("yes 0")
        told = subscriber.wait(f"{P}/door/state", lambda heard: not heard.value["ts"].startswith("1970"))
        assert (told.value["counts"], "clock" in told.value) == ({"face": 2}, False)
        assert at(told.value["ts"]) == pytest.approx(time.time() - uptime() + began, abs=0.1)
        room.say(handover("door", result(2, boot=mine), uptime()))
        late = subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 2).value
        assert "clock" not in late
        clock.write_text(f"yes {YEARS}")
        room.say(handover("door", result(3, boot=mine), uptime()))
        far = subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 3).value
        clock.write_text(f"yes {-YEARS}")
        room.say(handover("door", result(4, boot=mine), uptime()))
        past = subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 4).value
        assert (far["ts"] > "2070", past["ts"] < "1980") == (True, True)
        assert room.stop() == 0
        assert len([heard for heard in subscriber.on(f"{P}/status") if heard.payload == b"online"]) == 1


def test_what_waits_in_the_outbox_is_corrected(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, mine, port = tmp_path / "clock", new_boot(), free_port()
    monkeypatch.setenv("CLOCK", str(clock))
    clock.write_text(f"no {-time.time()}")
    room.program = "tests.publisher.clockless"
    room.start(plan(mqtt_plan(port)))
    room.greet = False
    room.wait(lambda: room.hellos, "greeting")
    room.tell(EngineUp("0" * 14))
    began = uptime()
    room.say(handover("door", result(2, boot="0" * 14), began))
    room.tell(EngineDown("engine_failed", "0" * 14))
    room.tell(EngineUp(mine))
    room.say(EngineHello(mine))
    room.say(handover("door", result(1, boot=mine), began))
    room.wait(lambda: room.report and room.report.outbox.pending == 2, "two waiting")
    clock.write_text("yes 0")
    room.wait(lambda: "clock synchronized" in room.log(), "the time")
    with Broker(tmp_path, port=port), Subscriber(port) as subscriber:
        other, ours = (heard.value for heard in subscriber.first(2, f"{P}/door/result"))
        assert at(ours["ts"]) == pytest.approx(time.time() - uptime() + began, abs=0.1)
        assert (ours["replay"], "clock" in ours) == (True, False)
        assert (other["boot"], other["clock"], other["ts"][:4]) == ("0" * 14, "unsynced", "1970")


def test_a_certificate_that_is_not_valid_yet_waits_for_the_time(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    monkeypatch.setenv("CLOCK", str(clock))
    clock.write_text(f"no {-time.time()}")
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("early", "IP:127.0.0.1", "20900101000000Z", "20991231235959Z")
    room.program = "tests.publisher.clockless"
    with Broker(tmp_path, f"certfile {certificate}", f"keyfile {key}") as broker:
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))))
        told = room.wait_told("is not valid yet")
        assert "1970-01-01T00:00, not synchronised" in told
        assert told.endswith("not synchronised)? Retrying with pauses, and at once when a time service sets the clock")
        clock.write_text("yes 0")
        room.wait(lambda: "Retrying" not in room.sentences[-1], "another attempt as soon as the time is known", 4.0)


def test_the_state_of_a_pipeline_that_has_not_begun_is_dated_too() -> None:
    hands = Hands(wall=0.0)
    guard = hands.guard()
    place = Place("state", "door")
    waiting = guard.admit(place, State(1, TS, "000000", "faces@1.0.0", SHA[:8], counts=None, reason="starting"), 100.0)
    assert waiting
    hands.shown, hands.known = NOW, True
    hands.clock.look()
    said = guard.release(place, waiting)
    assert said
    assert NOW_SHOWN.encode() in said


def test_a_moment_before_the_kernel_started_is_that_start() -> None:
    """A record of the engine with a negative uptime would be invalid, and the engine would be killed for it."""
    assert uptime(0.0) >= 0.0
    assert uptime(-3600.0) == 0.0
    assert uptime(time.monotonic()) == pytest.approx(uptime(), abs=1.0)
