"""Messages of a hostile engine that carry more than the bound counts are refused; none ends the publisher."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import DetectedObject, Event, Result, State, timestamp
from edge_infer.ipc.messages import EngineDown, EngineHello, EngineUp, EventHandover, StateSnapshot, Tally, handover
from edge_infer.plan.channel_rates import channel_rates
from edge_infer.plan.records import EventsPlan, Plan, SourcePlan, TrackPlan
from edge_infer.platform.clock import new_boot, uptime
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.result_guard import Admitted, ResultGuard
from edge_infer.publisher.second_gate import MAX_HELD_BYTES, SecondGate
from edge_infer.publisher.state.open_events import OpenEvents
from edge_infer.publisher.timestamps import Clock
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, SHA, P, mqtt_plan, plan, result

WALL = 1_764_000_000.0
FIRST_MOMENT = "0001-01-01T00:00:00.000Z"


def configured(port: int = 1883, **changes: Any) -> Plan:
    made = plan(mqtt_plan(port))
    camera = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})
    keys = {"fps": 2.0, "track": TrackPlan(), "events": EventsPlan(most=6.0), **changes}
    return replace(made, sources=(camera,), pipelines=(replace(made.pipelines[0], **keys),))


def event(seq: int, kind: Any, at: float, before: float = 1.0, boot: str = BOOT) -> Event:
    moments = timestamp(WALL + at), timestamp(WALL + at - before)
    return Event(1, moments[0], boot, seq, kind, label="face", id=5, score=0.9, since=moments[1])


def guard_of(wanted: Plan, now: float) -> ResultGuard:
    clock = Clock(says=lambda _: True, wall=lambda: WALL + now, uptime=lambda: now)
    egress = Egress(clock)
    egress.apply(wanted)
    guard = ResultGuard(egress, clock)
    guard.apply(wanted)
    return guard


def test_a_note_with_a_date_that_is_none_does_not_end_the_next_publisher() -> None:
    mine = new_boot()
    guard = guard_of(configured(), 1000.0)
    wrong = replace(event(1, "appear", 10.0, boot=mine), since="2026-02-30T00:00:00.000Z")
    right = replace(event(2, "appear", 10.0, boot=mine), id=6)
    guard.recall([EventHandover("door", each, 10.0) for each in (wrong, right)])
    assert len(guard._numbers._begun) == 1, "the other one is known"


def test_ends_of_an_object_whose_id_is_no_longer_known_are_not_free() -> None:
    wanted, now = configured(), 1000.0
    guard, known = guard_of(wanted, now), OpenEvents()
    series = MessageSeries("door", BOOT, "event")

    def admitted(message: Event) -> bool:
        found = guard.admit(series, message, now, highest=message.seq - 1, is_open=known.is_open)
        if isinstance(found, Admitted):
            known.note(handover("door", found.message, now))  # type: ignore[arg-type]
        return isinstance(found, Admitted)

    assert admitted(event(1, "appear", now))
    assert not admitted(replace(event(2, "leave", now), label="nobody"))
    others = [k * 10**7 for k in range(1, 65)] + [64 * 10**7 + k for k in range(1, 1300)]
    for number in others:
        found = replace(result(1).objects[0], id=number)  # type: ignore[index]
        guard.admit(series._replace(kind="result"), result(1, objects=0), now, highest=0, is_open=known.is_open)
        guard._numbers.result("door", replace(result(1), objects=(found,)))
    most = channel_rates(wanted, wanted.pipelines[0]).burst("event")
    assert sum(admitted(event(seq, "leave", now)) for seq in range(2, 500)) <= most


def test_refused_events_make_no_ids_known() -> None:
    wanted, now = configured(), 1000.0
    guard = guard_of(wanted, now)
    series = MessageSeries("door", BOOT, "event")

    def admitted(seq: int) -> bool:
        begin = replace(event(seq, "appear", now), id=seq * 500)
        return isinstance(guard.admit(series, begin, now, highest=seq - 1, is_open=OpenEvents().is_open), Admitted)

    taken = sum(admitted(seq) for seq in range(1, 10_000))
    known = guard._numbers._of(BOOT, "door", now)
    assert known is not None
    assert 0 < taken == len(known._open) <= 6
    assert known.newest <= 500 * (taken + 2)


def test_a_message_that_is_rejected_for_its_form_counts() -> None:
    wanted, now = configured(publish="every"), 1000.0
    guard = guard_of(wanted, now)
    series, known = MessageSeries("door", BOOT, "result"), OpenEvents()
    said = [guard.admit(series, result(1, label="nobody"), now, highest=0, is_open=known.is_open) for _ in range(99)]
    burst = int(channel_rates(wanted, wanted.pipelines[0]).burst("result"))
    assert said == ["rejected"] * burst + ["rate"] * (99 - burst)


def test_no_date_of_an_end_or_a_state_ends_the_publisher(broker: Broker, tmp_path: Path) -> None:
    mine = new_boot()
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(replace(configured(broker.port), state_dir=str(tmp_path)))
        room.tell(EngineUp(mine))
        room.say(EngineHello(mine))
        now = uptime()
        room.say(handover("door", event(1, "appear", 0.0, 3000.0, boot=mine), now))
        room.say(handover("door", replace(event(2, "leave", 0.0, boot=mine), ts=FIRST_MOMENT, since=FIRST_MOMENT), now))
        said = State(1, timestamp(WALL), mine, "faces@1.0.0", SHA[:8], timestamp(WALL - 3000), counts={"face": 1})
        room.say(StateSnapshot("door", said, now))
        room.say(StateSnapshot("door", replace(said, ts=FIRST_MOMENT, since=FIRST_MOMENT), now))
        room.say(handover("door", result(1, mine), uptime()))
        eventually(lambda: heard.on(f"{P}/door/result"), "a result after them")
        assert room.stop() == 0


def test_an_engine_can_neither_invent_pipelines_nor_greet_again(broker: Broker, tmp_path: Path) -> None:
    """Names without end would fill the memory, and push out what the publisher knows of the times and numbers."""
    mine = new_boot()
    with Subscriber(broker.port) as heard, Room() as room:
        room.greet = False
        room.start(replace(configured(broker.port), state_dir=str(tmp_path)))
        room.tell(EngineUp(mine, fresh=True))
        room.wait(lambda: room.hellos, "greeting")
        room.say(EngineHello(mine, (Tally("door", "result", 2**52, 2**52), Tally("shed", "result", 1, 1))))
        room.say(handover("door", result(1, mine), uptime()))
        eventually(lambda: heard.on(f"{P}/door/result"), "a result, although the greeting claims to be far beyond it")
        for number in range(20):
            room.say(handover(f"p{number}", result(number + 1, mine), uptime()))
            empty = State(1, timestamp(WALL), mine, "faces@1.0.0", SHA[:8], counts={})
            room.say(StateSnapshot(f"p{number}", empty, uptime()))
        for _ in range(3):
            room.say(EngineHello(mine, (Tally("door", "result", 3, 3),), again=True))
        room.say(handover("door", result(2, mine), uptime()))
        eventually(lambda: len(heard.on(f"{P}/door/result")) == 2, "the next result")
        room.wait(lambda: room.report and room.report.egress.rejected >= 40, "the invalid records in a report")
        assert room.report is not None
        assert room.report.egress.rejected == 40
        assert room.report.outbox is not None
        assert room.report.outbox.lost == {}
        assert room.report.outbox.produced == 2
        assert room.stop() == 0


@dataclass
class Unheard:
    """An engine that delivers as many messages as its limits allow while it reads nothing, and loses its publisher."""

    room: Room
    wanted: Plan
    boot: str = field(default_factory=new_boot)
    at: float = 0.0

    def deliver(self, messages: Iterable[Result | Event]) -> None:
        self.room.greet = False
        self.room.start(self.wanted)
        self.room.tell(EngineUp(self.boot))
        self.room.wait(lambda: self.room.hellos, "greeting")
        self.room.say(EngineHello(self.boot))
        self.room.wait_connected()
        self.room.fill_channel()
        self.at = uptime()
        self.say(messages)

    def say(self, messages: Iterable[Result | Event]) -> None:
        """Hands over messages that were all captured at the same time, and waits until the publisher has noted them."""
        said = list(messages)
        for message in said:
            self.room.say(handover("door", message, self.at))
        self.room.wait(lambda: self.pending == 0, "delivery of all")
        reports = len(self.room.sentences)
        self.room.wait(lambda: len(self.room.sentences) > reports + 1, "two more reports")

    def another_publisher(self, *tallies: Tally) -> None:
        """The publisher is killed; the engine hears of the next one, and claims ``tallies``."""
        self.room.kill()
        self.room.deaf = False
        self.room.start(self.wanted)
        self.room.tell(EngineUp(self.boot))
        hellos = self.room.hellos
        self.room.wait(lambda: self.room.hellos > hellos, "greeting")
        assert not [key for key in self.room.acked if key[1] == self.boot], "nothing was acknowledged"
        self.room.say(EngineHello(self.boot, tallies, again=True))

    @property
    def pending(self) -> int:
        report = self.room.report
        return report.outbox.pending if report and report.outbox and report.outbox.produced else 1


def test_an_engine_that_reads_no_acknowledgements_pays_for_what_it_sends_again(
    broker: Broker, room: Room, tmp_path: Path
) -> None:
    wanted = replace(configured(broker.port, publish="every", fps=30.0, track=None), state_dir=str(tmp_path))
    burst = int(channel_rates(wanted, wanted.pipelines[0]).burst("result"))
    with Subscriber(broker.port) as heard:
        engine = Unheard(room, wanted)
        engine.deliver(result(seq, engine.boot) for seq in range(1, burst + 1))
        assert len(heard.on(f"{P}/door/result")) == burst
        engine.another_publisher()  # claims that it has used no number yet
        engine.say(result(seq, engine.boot, objects=2) for seq in range(1, burst + 1))
        assert len(heard.on(f"{P}/door/result")) <= burst + 1
        assert room.stop() == 0


def test_an_engine_that_could_hear_no_acknowledgement_loses_nothing(broker: Broker, room: Room, tmp_path: Path) -> None:
    """It sends all again and what is new. The repeated messages use nothing of its limits."""
    wanted = replace(configured(broker.port, publish="every", fps=30.0, track=None), state_dir=str(tmp_path))
    burst = int(channel_rates(wanted, wanted.pipelines[0]).burst("result"))
    with Subscriber(broker.port) as heard:
        engine = Unheard(room, wanted)
        engine.deliver(result(seq, engine.boot) for seq in range(1, burst - 9))
        engine.another_publisher(Tally("door", "result", burst - 10))
        engine.say(result(seq, engine.boot) for seq in range(1, burst + 1))
        room.wait_acked(burst, boot=engine.boot)
        assert [_decoded(each)["seq"] for each in heard.on(f"{P}/door/result")] == [*range(1, burst + 1)]
        assert room.report is not None
        assert room.report.outbox is not None
        assert (room.report.outbox.delivered, room.report.outbox.lost) == (burst, {})
        assert room.stop() == 0


def test_events_that_could_not_be_acknowledged_are_neither_lost_nor_paid_twice(
    broker: Broker, room: Room, tmp_path: Path
) -> None:
    wanted = replace(configured(broker.port), state_dir=str(tmp_path))
    most = int(channel_rates(wanted, wanted.pipelines[0]).burst("event")) // 2
    with Subscriber(broker.port) as heard:
        engine = Unheard(room, wanted)

        def events(kind: str, first: int) -> list[Event]:
            found = (event(first + number, kind, 0.0, boot=engine.boot) for number in range(most))
            return [replace(each, id=number) for number, each in enumerate(found, 1)]

        engine.deliver(events("appear", 1))
        engine.another_publisher(Tally("door", "event", most))
        engine.say([*events("appear", 1), *events("leave", most + 1)])
        types = [_decoded(each)["type"] for each in heard.on(f"{P}/door/event")]
        assert types == ["appear"] * most + ["leave"] * most
        assert room.report is not None
        assert room.report.outbox is not None
        assert room.report.outbox.lost == {}
        room.tell(EngineDown("engine_failed", engine.boot))
        assert room.stop() == 0
        assert len(heard.on(f"{P}/door/event")) == 2 * most, "no event is open"


def test_an_engine_cannot_name_the_boot_of_one_that_has_ended(broker: Broker, tmp_path: Path) -> None:
    first, second = new_boot(), new_boot()
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(replace(configured(broker.port), state_dir=str(tmp_path)))
        room.tell(EngineUp(first))
        room.say(EngineHello(first))
        room.say(handover("door", result(1, first), uptime()))
        eventually(lambda: heard.on(f"{P}/door/result"), "the result of the first engine")
        room.say(handover("door", result(2, first), uptime()))  # it waits in the channel when its engine dies
        room.tell(EngineDown("engine_failed", first))
        room.tell(EngineUp(second))
        room.say(EngineHello(second))
        room.say(handover("door", result(3, first), uptime()))
        for number in range(1, 5):
            boot = first if number % 2 else second
            said = State(
                1, timestamp(WALL), boot, "faces@1.0.0", SHA[:8], timestamp(WALL - 99), counts={"face": number}
            )
            room.say(StateSnapshot("door", said, uptime()))
        room.say(handover("door", result(1, second), uptime()))
        eventually(lambda: len(heard.on(f"{P}/door/result")) >= 3, "the result of the second engine")
        found = [(each["boot"], each["seq"]) for each in map(_decoded, heard.on(f"{P}/door/result"))]
        assert found == [(first, 1), (first, 2), (second, 1)]
        states = [_decoded(payload) for payload in heard.on(f"{P}/door/state")]
        assert {each["boot"] for each in states if each["counts"]} <= {second}
        assert "an engine that has ended" in room.log()
        assert room.stop() == 0


def _decoded(heard: Heard) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(heard.payload)
    return found


def snapshot(pipeline: str, count: int) -> StateSnapshot:
    return StateSnapshot(pipeline, State(1, timestamp(WALL), BOOT, "f", SHA[:8], counts={"face": count}))


def test_coarse_messages_leave_when_their_second_is_over() -> None:
    now = [1000.25]
    gate = SecondGate(lambda: now[0])
    gate.apply(configured(detail="coarse"))
    early, late = snapshot("door", 1), handover("door", result(1))
    assert gate.holds(early)
    now[0] = 1000.9
    assert gate.holds(late)
    assert not gate.holds(snapshot("yard", 1))
    assert list(gate.opened()) == []
    assert round(gate.wait(), 6) == 0.1
    now[0] = 1001.0
    assert list(gate.opened()) == [early, late]
    assert gate.wait() == float("inf")
    gate.holds(early)
    assert list(gate.opened(at_once=True)) == [early]


@pytest.mark.parametrize("removed", [False, True])
def test_no_message_overtakes_held_ones_when_a_plan_ends_coarse_detail(removed: bool) -> None:
    """A number that arrives too late counts as lost, and an older state would replace a newer one."""
    now = [1000.25]
    gate = SecondGate(lambda: now[0])
    gate.apply(configured(detail="coarse"))
    words = [handover("door", result(1)), snapshot("door", 1), handover("door", result(2)), snapshot("door", 2)]
    assert all(gate.holds(word) for word in words[:2])
    full = configured(detail="full")
    gate.apply(replace(full, pipelines=()) if removed else full)
    assert all(gate.holds(word) for word in words[2:])
    assert not gate.holds(snapshot("yard", 1))
    now[0] = 1001.0
    assert list(gate.opened()) == words
    assert not gate.holds(words[0])


def test_the_bytes_that_wait_for_their_second_are_limited() -> None:
    now = [1000.25]
    gate = SecondGate(lambda: now[0])
    gate.apply(configured(detail="coarse"))
    large = replace(result(1), objects=tuple(DetectedObject("face", 0.9, (0.0, 0.0, 0.5, 0.5)) for _ in range(500)))
    held = 0
    while not gate.full:
        assert gate.holds(handover("door", large))
        held += 1
    assert 0.9 * MAX_HELD_BYTES < held * len(dumps(large)) < 1.1 * MAX_HELD_BYTES
    assert len(list(gate.opened(at_once=True))) == held
    assert not gate.full


def test_a_greeting_keeps_its_place_among_coarse_messages() -> None:
    now = [1000.25]
    gate = SecondGate(lambda: now[0])
    gate.apply(configured(detail="coarse"))
    hello, other = EngineHello(BOOT), snapshot("yard", 1)
    assert not gate.holds(hello)
    words = [snapshot("door", 1), hello, other]
    assert all(gate.holds(word) for word in words)
    now[0] = 1001.5
    assert list(gate.opened()) == words
    assert not gate.holds(other)


def test_a_coarse_result_arrives_at_the_beginning_of_a_second(broker: Broker, tmp_path: Path) -> None:
    mine = new_boot()
    with Subscriber(broker.port) as heard, Room() as room:
        room.start(replace(configured(broker.port, detail="coarse"), state_dir=str(tmp_path)))
        room.tell(EngineUp(mine))
        room.say(EngineHello(mine))
        room.wait_connected()
        sent = uptime()
        room.say(handover("door", result(1, mine), sent))
        eventually(lambda: heard.on(f"{P}/door/result"), "the result")
        assert uptime() >= sent // 1 + 1
        room.say(handover("door", result(2, mine), uptime()))
        room.tell(EngineDown("engine_failed", mine))
        eventually(lambda: len(heard.on(f"{P}/door/result")) == 2, "what the dead engine has left")
        assert room.stop() == 0
