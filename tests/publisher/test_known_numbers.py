"""Ids, numbers and times of the past: an honest engine's pass, and nothing else carries data in them."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import DetectedObject, Event, LineCounts, Parent, Result, State, timestamp
from edge_infer.errors import WireError
from edge_infer.plan.records import CropsPlan, EventsPlan, LinePlan, Plan, TrackPlan
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.publisher.known_numbers import LINE_REACH, MAX_FREE, MAX_RECENT, REACH, KnownIds, KnownNumbers
from tests.publisher.samples import BOOT, SHA, mqtt_plan, plan, result

WALL = 1_764_000_000.0


def numbers(**changes: object) -> KnownNumbers:
    found = KnownNumbers()
    found.apply(configured(**changes))
    return found


def configured(**changes: object) -> Plan:
    made = plan(mqtt_plan(1883), ("door", "masks"))
    line = LinePlan("gate", (0.5, 0.0), (0.5, 1.0))
    keys = {"track": TrackPlan(), "events": EventsPlan(), "lines": (line,), **changes}
    door = replace(made.pipelines[0], **keys)
    masks = replace(made.pipelines[1], track=None, crops=CropsPlan("door"))
    return replace(made, pipelines=(door, masks))


def ids_of(found: Result) -> list[object]:
    return [each.id for each in found.objects or ()]


def seen(*ids: int) -> Result:
    return replace(result(1), objects=tuple(DetectedObject("face", 0.9, (0, 0, 0.5, 0.5), id=each) for each in ids))


def event(kind: str, at: float, before: float = 0.0, number: int = 7) -> Event:
    wall = WALL + at
    return Event(1, timestamp(wall), BOOT, 1, kind, label=("face"), id=number, since=timestamp(wall - before))  # type: ignore[arg-type]


def test_ids_near_the_newest_and_known_ones_pass() -> None:
    known = numbers()
    assert ids_of(known.result("door", seen(2, 1, 3))) == [2, 1, 3]
    for number in range(4, 5000, 50):
        assert ids_of(known.result("door", seen(number, 1))) == [number, 1]


def test_an_id_out_of_reach_is_left_out_and_an_honest_engine_is_followed() -> None:
    known = numbers()
    for newest in range(2 * REACH, 2 * REACH * (MAX_FREE + 1), 2 * REACH):
        assert ids_of(known.result("door", seen(newest))) == [newest]
    assert ids_of(known.result("door", seen(2**53, newest))) == [ABSENT, newest]
    far = newest + 10 * REACH
    tries = [ids_of(known.result("door", seen(far)))[0] for _ in range(20)]
    assert tries[0] is ABSENT
    assert tries[-1] == far


def test_a_publisher_that_starts_later_takes_the_ids_of_before() -> None:
    known = numbers()
    assert ids_of(known.result("door", seen(1, 9000, 8000))) == [1, 9000, 8000]


def test_engines_that_follow_each_other_get_no_more_ids_that_may_be_anywhere() -> None:
    """Such an id carries 53 bits, and an engine can end itself."""
    known, far = numbers(), 0
    for life in range(1000):
        found = known.result("door", replace(seen(2**52 + life * 2 * REACH), boot=f"{life:014x}"))
        far += ids_of(found) != [ABSENT]
    assert far == MAX_FREE
    assert ids_of(known.result("door", replace(seen(1), boot="ab" * 7))) == [1]


def test_an_engine_that_starts_now_begins_to_count_at_nothing() -> None:
    known = numbers()
    known.fresh = BOOT
    said = State(1, timestamp(WALL), BOOT, "faces@1.0.0", SHA[:8], counts={}, lines={"door": LineCounts(2**50, 3)})
    assert known.state("door", said, 5.0).lines == {"door": LineCounts(LINE_REACH - 1, 3)}


def test_an_id_that_was_not_published_lately_is_left_out() -> None:
    known = KnownIds(TokenBucket(MAX_FREE, 0.0))
    assert all(known.admits(number) for number in range(1, 10_000))
    assert sum(known.admits(1000 + number) for number in range(100)) == MAX_FREE
    assert known.admits(10_000 - REACH)


def test_the_id_of_an_open_event_stays_known() -> None:
    known = KnownIds(TokenBucket(MAX_FREE, 0.0))
    assert known.admits(1)
    known.follow(1, "appear")
    known.follow(1, "start")
    known.follow(1, "end")
    assert all(known.admits(number) for number in range(2, 4 * MAX_RECENT))
    for number in range(MAX_FREE):
        known.admits(2 + number)
    assert not known.admits(200)
    assert known.admits(1)


def test_objects_that_are_not_followed_have_no_ids() -> None:
    known = numbers(track=None)
    assert ids_of(known.result("door", seen(1))) == [ABSENT]
    state = State(1, timestamp(WALL), BOOT, "faces@1.0.0", SHA[:8], counts={"face": 1}, ids={"face": (1,)})
    assert known.state("door", state, 5.0).ids is ABSENT


def test_a_parent_has_an_id_and_a_number_of_its_pipeline() -> None:
    known = numbers()
    known.result("door", replace(seen(3), seq=10))
    parent = Parent("door", "face", 0.9, (0, 0, 0.5, 0.5), 3, 10)
    assert known.result("masks", replace(seen(), parent=parent)).parent == parent
    for number in range(MAX_FREE):  # use up what a publisher that starts later may take
        known.result("door", seen(2**41 + number * 2 * REACH))
    wrong = replace(parent, id=2**40, seq=2**50)
    assert known.result("masks", replace(seen(), parent=wrong)).parent == replace(parent, id=ABSENT, seq=ABSENT)


def test_the_end_of_an_event_began_when_its_begin_did() -> None:
    known = numbers()
    begin = event("appear", 10.0, before=0.7)
    assert known.event("door", begin, 10.0) == begin
    known.taken("door", begin)
    end = event("leave", 60.0, before=50.7)
    assert known.event("door", end, 60.0) == end
    known.taken("door", end)
    known.event("door", begin, 10.0)
    known.taken("door", begin)
    assert known.event("door", event("leave", 60.0, before=12.345), 60.0).since == end.since


def test_a_new_publisher_knows_when_an_event_of_long_ago_began() -> None:
    begin, end = event("appear", 10.0, before=0.7), event("leave", 9000.0, before=8990.7)
    assert numbers().event("door", end, 9000.0).since is ABSENT
    known = numbers()
    known.recall("door", begin, 10.0)
    assert known.event("door", end, 9000.0) == end


def test_an_event_of_long_ago_has_no_beginning() -> None:
    assert numbers().event("door", event("appear", 10.0, before=86_400.0), 10.0).since is ABSENT


def test_a_pipeline_has_only_the_types_of_events_that_it_can_have() -> None:
    with pytest.raises(WireError, match="no events of type enter"):
        numbers().event("door", replace(event("enter", 1.0), zone="drive"), 1.0)


def test_a_state_began_with_itself_or_with_the_one_before() -> None:
    known = numbers()

    def state(at: float, since: float) -> State:
        moments = timestamp(WALL + at), timestamp(WALL + since)
        return State(1, moments[0], BOOT, "faces@1.0.0", SHA[:8], moments[1], counts={"face": 1})

    for at, since, told in ((10, 10, 10), (20, 20, 20), (30, 20, 20), (40, 17.3, 20), (50, 43.21, 50), (60, 50, 50)):
        assert known.state("door", state(at, since), float(at)).since == timestamp(WALL + told)


def test_a_state_that_lasts_keeps_its_beginning_whatever_fractions_its_times_have() -> None:
    """The times of the message are rounded down to milliseconds, the time of its capture is not."""
    known, began = numbers(), WALL + 10.0001
    for at in (10.0001, 20.0009, 30.0005):
        moments = timestamp(WALL + at), timestamp(began)
        said = State(1, moments[0], BOOT, "faces@1.0.0", SHA[:8], moments[1], counts={})
        assert known.state("door", said, at).since == timestamp(began)


def test_the_first_state_of_an_engine_began_after_the_last_one_of_the_engine_before() -> None:
    known = numbers()

    def since(boot: str, at: float, began: float) -> object:
        moments = timestamp(WALL + at), timestamp(WALL + began)
        state = State(1, moments[0], boot, "faces@1.0.0", SHA[:8], moments[1], counts={"face": 1})
        return known.state("door", state, at).since

    told = [since(BOOT, 10, 3), since("b" * 6, 20, 14), since("c" * 6, 30, 2), since(BOOT, 40, 5)]
    assert told == [timestamp(WALL + each) for each in (3, 14, 20, 30)]


def test_the_first_state_began_after_the_kernel_and_is_as_coarse_as_its_pipeline() -> None:
    def since(known: KnownNumbers, at: float, began: float) -> object:
        moments = timestamp(WALL + at), timestamp(WALL + began)
        return known.state("door", State(1, moments[0], BOOT, "f", SHA[:8], moments[1], counts={}), at).since

    assert since(numbers(), 10.0, -1e9) == timestamp(WALL)
    assert since(numbers(detail="coarse"), 10.0, 3.217) == timestamp(WALL + 3)


def test_an_event_that_was_refused_teaches_nothing() -> None:
    known = numbers()
    known.event("door", event("appear", 10.0, before=0.7), 10.0)
    told = known.event("door", event("leave", 60.0, before=50.1), 60.0)
    assert told.since == timestamp(WALL + 9.9)


def test_the_end_of_an_event_that_began_too_long_ago_has_no_beginning_either() -> None:
    known = numbers()
    begin = event("appear", 10.0, before=10**9)
    known.taken("door", known.event("door", begin, 10.0))
    assert known.event("door", event("leave", 60.0, before=50 + 10**9), 60.0).since is ABSENT


def test_a_time_on_no_calendar_is_an_invalid_message() -> None:
    known = numbers()
    begin = event("appear", 3000.0, before=3000.0)
    known.event("door", begin, 3000.0)
    known.taken("door", begin)
    first = "0001-01-01T00:00:00.000Z"
    with pytest.raises(WireError, match="not a calendar date"):
        known.event("door", replace(event("leave", 3100.0), ts=first, since=first), 3100.0)


def test_crossings_grow_little_by_little_or_begin_anew() -> None:
    known = numbers()

    def crossed(left: int) -> object:
        state = State(1, timestamp(WALL), BOOT, "f", SHA[:8], counts={}, lines={"gate": LineCounts(left, 0)})
        return known.state("door", state, 5.0).lines["gate"].left  # type: ignore[index]

    assert [crossed(count) for count in (5000, 5001, 3, 4)] == [5000, 5001, 3, 4]
    assert crossed(2**50) == 4 + 1023


def test_times_of_captures_grow_and_are_not_in_the_future() -> None:
    known = numbers()
    assert [known.captured("door", "result", at, 100.0) for at in (5.0, 7.25, 6.0, 1e6, 50.0)] == [
        5.0, 7.25, 7.25, 100.0, 100.0,
    ]  # fmt: skip
    assert numbers(detail="coarse").captured("door", "result", 7.25, 100.0) == 7.0
