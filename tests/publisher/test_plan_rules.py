"""After a new plan an engine may say what the plan before allowed for as long as its switch may take, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import DetectedObject, Event, Result, State, timestamp
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.ipc.messages import EarlierPlan, StateSnapshot, handover
from edge_infer.plan.channel_rates import channel_rates
from edge_infer.plan.records import EventsPlan, Measured, NmsPlan, Plan, SourcePlan, TrackPlan, ZonePlan
from edge_infer.plan.switch_time import LOADS, SWITCH, UNKNOWN, switch_seconds
from edge_infer.platform.clock import kernel_tag
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.known_numbers import MAX_FREE, MAX_OPEN, MAX_RECENT, KnownNumbers
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.plan_rules import MOST_EARLIER, PlanHistory
from edge_infer.publisher.result_guard import Admitted, ResultGuard
from edge_infer.publisher.state.open_events import OpenEvents
from edge_infer.publisher.state.retained import Retained
from edge_infer.publisher.state.unknown_states import States
from edge_infer.publisher.timestamps import Clock
from tests.publisher.samples import SHA, model_plan, mqtt_plan, plan

WALL = 1_764_000_000.0
BOOT = kernel_tag() + "0" * 8
BOX = (0.1, 0.1, 0.2, 0.2)
LOAD = 0.5
ZONE = ZonePlan("drive", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))


def configured(labels: tuple[str, ...] = ("face", "mask"), most: int = 100, **keys: Any) -> Plan:
    model = replace(model_plan(), nms=NmsPlan(max=most), measured=Measured(load=LOAD))
    camera = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={})
    made = plan(mqtt_plan(1883), model=model)
    wanted = {
        "fps": 2.0, "max_payload": 4096, "labels": labels, "track": TrackPlan(), "events": EventsPlan(most=600.0),
        **keys,
    }  # fmt: skip
    return replace(made, sources=(camera,), pipelines=(replace(made.pipelines[0], **wanted),))


WIDE = configured(zones=(ZONE,))
STRICT = configured(("face",), 1, max_payload=512, track=None)
SWITCHED = switch_seconds(WIDE, STRICT)


class Guarded:
    """The guard of a publisher, with a clock that is set by hand."""

    def __init__(self, *plans: Plan) -> None:
        self.now = 1000.0
        self.clock = Clock(says=lambda _: True, wall=lambda: WALL + self.now, uptime=lambda: self.now)
        self.egress = Egress(self.clock)
        self.guard, self.open = ResultGuard(self.egress, self.clock), OpenEvents()
        self._seq: dict[str, int] = {}
        for each in plans:
            self.apply(each)

    def apply(self, wanted: Plan) -> None:
        self.egress.apply(wanted)
        self.guard.apply(wanted)

    def admits(self, message: Result | Event, at: float | None = None) -> Any:
        """The message that leaves, or the reason of its loss; captured now, if not ``at`` another time."""
        kind: Any = "event" if isinstance(message, Event) else "result"
        seq = self._seq[kind] = self._seq.get(kind, 0) + 1
        at = self.now if at is None else at
        made = replace(message, seq=seq, ts=timestamp(WALL + at))
        series = MessageSeries("door", BOOT, kind)
        found = self.guard.admit(series, made, at, highest=seq - 1, is_open=self.open.is_open)
        if not isinstance(found, Admitted):
            return found
        self.open.note(handover("door", found.message, at))  # type: ignore[arg-type]
        return found.message

    def sets(self, counts: dict[str, int], at: float) -> bool:
        moment = timestamp(WALL + at)
        state = State(1, moment, BOOT, "faces@1.0.0", SHA[:8], moment, counts=counts)
        found, captured = self.guard.state(StateSnapshot("door", state, at))
        return self.egress.admit(Place("state", "door"), found, captured) is not None


def seen(objects: int = 1, label: str = "face", number: Any = ABSENT) -> Result:
    found = tuple(DetectedObject(label, 0.9, BOX, id=number) for _ in range(objects))
    return Result(1, timestamp(WALL), BOOT, 1, "faces@1.0.0", SHA[:8], "detection", objects=found)


def event(kind: Any, at: float, since: float, **keys: Any) -> Event:
    return Event(
        1, timestamp(WALL + at), BOOT, 1, kind, label="face", id=7, score=0.9, since=timestamp(WALL + since), **keys
    )


def test_results_of_the_wide_plan_end_with_the_switch() -> None:
    door = Guarded(WIDE, STRICT)
    begun, taken = door.now, []
    for _ in range(240):
        taken.append(isinstance(door.admits(seen(40)), Result))
        door.now += 0.5
    assert 1 <= sum(taken) <= 2 * SWITCHED
    assert not any(taken[int(2 * SWITCHED) :])
    assert SWITCHED < 100 < door.now - begun


def test_old_capture_times_leave_no_more_than_a_burst() -> None:
    door = Guarded(WIDE, STRICT)
    begun, taken = door.now, 0
    for _ in range(240):
        door.now += 0.5
        taken += isinstance(door.admits(seen(40), begun), Result)
    bursts = [channel_rates(each, each.pipelines[0]).burst("result") for each in (WIDE, STRICT)]
    assert taken <= sum(bursts) < 240


@pytest.mark.parametrize("after", [{"fps": 2.0}, {"fps": 2.0, "publish": "off"}])
def test_results_of_a_plan_without_a_limit_end_with_the_switch(after: dict[str, Any]) -> None:
    unlimited, wanted = configured(fps=None, publish="every"), configured(**{"publish": "every", **after})
    switched, most = switch_seconds(unlimited, wanted), channel_rates(wanted, wanted.pipelines[0]).burst("result")
    door = Guarded(unlimited, wanted)
    begun = door.now
    door.now += switched - 0.1
    assert all(isinstance(door.admits(seen(), begun), Result) for _ in range(2000)), "a backlog of the plan before"
    door.now += 0.1
    assert sum(isinstance(door.admits(seen(), begun), Result) for _ in range(2000)) <= most

    def settled(guard: ResultGuard) -> bool:
        return all(level.left <= level_most for level, level_most in _levels(guard, wanted))

    quiet, anew = Guarded(unlimited, wanted), Guarded(unlimited, wanted)
    quiet.now += switched - 0.1
    quiet.guard.save()
    assert not settled(quiet.guard)
    quiet.now += 0.1
    quiet.guard.save()
    assert settled(quiet.guard)
    anew.guard.engine_started("ab" * 7)
    assert settled(anew.guard), "an engine that starts has no earlier plan"


def _levels(guard: ResultGuard, wanted: Plan) -> list[tuple[Any, float]]:
    rates = channel_rates(wanted, wanted.pipelines[0])
    return [(level, rates.burst(level.kind)) for level in guard._admission.state().levels]


def test_labels_and_states_of_the_wide_plan_end_with_the_switch() -> None:
    door = Guarded(WIDE, STRICT)
    begun = door.now
    assert isinstance(door.admits(seen(label="mask")), Result)
    assert door.sets({"face": 3, "mask": 5}, begun)
    door.now += SWITCHED
    assert door.admits(seen(label="mask")) == "rejected"
    assert not door.sets({"face": 3}, begun), "an old capture time costs a state nothing"
    assert not door.sets({"mask": 1}, door.now)
    assert isinstance(door.admits(seen()), Result)
    assert door.sets({"face": 1}, door.now)


def test_ids_and_types_of_events_end_with_the_switch() -> None:
    door = Guarded(WIDE, STRICT)
    assert door.admits(seen(number=3)).objects[0].id == 3
    assert isinstance(door.admits(event("enter", door.now, door.now, zone="drive")), Event)
    door.now += SWITCHED
    assert door.admits(seen(number=3)).objects[0].id is ABSENT
    assert door.admits(replace(event("enter", door.now, door.now, zone="drive"), id=8)) == "rejected"


def test_results_that_were_captured_before_the_switch_may_arrive_after_it() -> None:
    door = Guarded(WIDE, STRICT)
    captured = door.now + SWITCHED - 0.1
    door.now += 600.0
    assert isinstance(door.admits(seen(40, "mask"), captured), Result)
    assert door.admits(seen(40, "mask")) == "rejected"


@pytest.mark.parametrize("late", [0.5, 600.0], ids=["at the switch", "long after it"])
def test_events_that_were_open_end(late: float) -> None:
    door = Guarded(WIDE)
    begun = door.now
    for begin in (event("appear", begun, begun, box=BOX), event("enter", begun, begun, zone="drive")):
        assert isinstance(door.admits(begin), Event)
    door.now += 20.0
    door.apply(STRICT)
    door.now += late
    for end in (event("exit", door.now, begun, zone="drive"), event("leave", door.now, begun)):
        left = door.admits(replace(end, reason="config_changed"))
        assert (left.id, left.since, left.reason) == (7, timestamp(WALL + begun), "config_changed")
    assert not any(door.open.is_open("door", each.message) for each in door.open.begun())


def test_an_end_has_the_words_of_the_plan_of_its_begin() -> None:
    door = Guarded(WIDE, STRICT)
    door.now += SWITCHED
    begin = replace(event("start", door.now, door.now), id=ABSENT)
    assert isinstance(door.admits(begin), Event)
    door.now += 1.0
    assert door.admits(replace(begin, type="end", label="mask")) == "rejected"
    assert isinstance(door.admits(replace(begin, type="end")), Event)


def test_a_rollback_takes_what_each_model_has_found() -> None:
    other = replace(model_plan("cats", ("cat",), "c" * 64), measured=Measured(load=LOAD))
    cats = replace(WIDE, pipelines=(replace(WIDE.pipelines[0], model=other, labels=None),))
    cat = replace(seen(label="cat"), sha="c" * 8, model="cats@1.0.0")
    door = Guarded(WIDE, cats)
    assert all(isinstance(door.admits(each), Result) for each in (seen(), cat))
    door.now += 2.0
    door.apply(WIDE)
    assert all(isinstance(door.admits(each), Result) for each in (cat, seen()))
    door.now += switch_seconds(cats, WIDE)
    assert door.admits(cat) == "rejected"
    assert isinstance(door.admits(seen()), Result)


def test_a_new_engine_with_full_budgets_has_only_the_present_plan() -> None:
    door = Guarded(WIDE, STRICT)
    door.egress.engine_rested()
    assert door.guard.engine_rested("ab" * 7, fresh=True)
    assert door.admits(seen(40)) == "rejected"
    assert door.admits(seen(number=3)).objects[0].id is ABSENT
    assert door.admits(replace(event("appear", door.now, door.now), id=8)) == "rejected"


def test_a_new_publisher_gives_the_plan_before_no_more_time() -> None:
    door = Guarded()
    earlier = EarlierPlan(WIDE, door.now - SWITCHED + 1.0)
    door.egress.apply(earlier.plan)
    door.egress.apply(STRICT, earlier.replaced)
    door.guard.apply(STRICT, earlier)
    assert door.admits(seen(40, number=3)).objects[0].id == 3
    door.now += 1.0
    assert door.admits(seen(40)) == "rejected"


def test_a_null_state_of_the_model_before_is_sent_again() -> None:
    door, retained = Guarded(WIDE), Retained()
    states = States(retained, door.egress, door.clock.uptime, lambda: door.now)
    states.apply(WIDE)
    moment = timestamp(WALL + door.now)
    states.update("door", State(1, moment, BOOT, "faces@1.0.0", SHA[:8], moment, counts=None, reason="source_lost"))
    other = replace(model_plan("cats", ("cat",), "c" * 64), measured=Measured(load=LOAD))
    cats = replace(WIDE, pipelines=(replace(WIDE.pipelines[0], model=other, labels=None),))
    door.apply(cats)
    states.apply(cats)
    door.now += 600.0
    states.again(60.0)
    assert door.egress.rejected == 0


def with_load(seconds: float) -> Plan:
    model = replace(STRICT.pipelines[0].model, measured=Measured(load=seconds))
    return replace(STRICT, pipelines=(replace(STRICT.pipelines[0], model=model),))


def test_the_switch_may_take_as_long_as_loading_the_models_that_changed() -> None:
    assert switch_seconds(WIDE, WIDE) == SWITCH
    assert switch_seconds(WIDE, STRICT) == SWITCH + LOADS  # 10 * LOAD is less
    assert switch_seconds(WIDE, with_load(9.0)) == SWITCH + 90.0
    assert switch_seconds(WIDE, with_load(1e300)) == SWITCH + 10 * LOADS
    unmeasured = replace(STRICT.pipelines[0].model, measured=Measured())
    new = replace(STRICT, pipelines=(replace(STRICT.pipelines[0], model=unmeasured),))
    two = (*new.pipelines, replace(new.pipelines[0], name="gate"), replace(new.pipelines[0], name="yard"))
    assert switch_seconds(WIDE, replace(new, pipelines=two)) == SWITCH + 3 * UNKNOWN
    slow = replace(unmeasured, measured=Measured(latency=2.0, load=LOAD))
    assert switch_seconds(replace(new, pipelines=(replace(new.pipelines[0], model=slow),)), WIDE) > SWITCH + 20.0


def test_an_event_of_the_plan_before_ends_once_even_if_its_id_is_forgotten() -> None:
    numbers = KnownNumbers()
    numbers.apply(WIDE)

    def sent(kind: Any, number: int, at: float, made: float) -> Event:
        found = numbers.event("door", replace(event(kind, at, 1.0), id=number), at, made)
        numbers.taken("door", found, at)
        return found

    assert sent("appear", 1, 1.0, 1.0).id == 1
    for number in range(2, 2 + MAX_OPEN + 1):
        sent("appear", number, 2.0, 2.0)
    for number in range(1, MAX_FREE + 2):  # far from all others
        numbers.result("door", seen(number=number * 10**6), 2.0)
    for number in range(MAX_RECENT + 1):
        numbers.result("door", seen(number=MAX_FREE * 10**6 + number), 2.0)
    numbers.apply(STRICT, 10.0)
    end = replace(event("leave", 9000.0, 1.0), id=1)
    assert sent("leave", 1, 9000.0, numbers.made("door", end, 9000.0)).id == 1
    with pytest.raises(WireError, match="no events of type leave"):
        sent("leave", 1, 9001.0, numbers.made("door", end, 9001.0))


def test_a_further_plan_does_not_shorten_the_time_of_the_plan_before() -> None:
    numbers = KnownNumbers()
    numbers.apply(WIDE)
    numbers.apply(with_load(9.0), 100.0)
    numbers.apply(replace(with_load(9.0), digest="1" * 64), 102.0)
    moment = 100.0 + SWITCH + 80.0
    assert numbers.event("door", event("appear", moment, moment), moment, moment).id == 7


def test_a_plan_with_the_same_pipelines_is_no_change() -> None:
    plans = PlanHistory()
    for each in (WIDE, STRICT, replace(STRICT, digest="1" * 64)):
        plans.apply(each, 1000.0)
    assert [before for _, before in plans._earlier] == [WIDE]


def test_the_number_of_earlier_plans_is_limited() -> None:
    plans = PlanHistory()
    for most in range(1, 3 * MOST_EARLIER):
        plans.apply(configured(most=most), 1000.0)
    assert len(plans._earlier) == MOST_EARLIER
    assert plans.at(1000.0).forms["door"].most == 3 * MOST_EARLIER - 1
