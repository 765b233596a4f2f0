"""Who has the next turn: the highest priority, of these the one who has waited longest; nobody for ever, nobody never."""

from __future__ import annotations

import threading

from edge_infer.engine.turns import LONGEST, OVERTAKEN, Turn, Turns
from tests.broker import eventually


class Hours:
    """A clock that stands still unless it is set, and pipelines that wait for their turns by it."""

    def __init__(self, cores: int) -> None:
        self.now = 1.0
        self.turns = Turns(cores, lambda: self.now)
        self.given: list[Turn] = []

    def pipeline(self, priority: int = 0, cores: int = 1) -> Turn:
        turn = self.turns.join()
        self.turns.want(turn, priority, cores)
        return turn

    def running(self, priority: int = 0, cores: int = 1) -> Turn:
        """A pipeline that has its turn."""
        turn = self.pipeline(priority, cores)
        assert self.turns.take(turn, 0.0)
        return turn

    def wait(self, turn: Turn) -> None:
        """It asks for its turn, a second after whoever asked last."""
        self.now += 1.0
        threading.Thread(target=self._wait, args=(turn,), daemon=True).start()
        eventually(lambda: turn.since or turn.began, "a pipeline that waits, or has its turn")

    def _wait(self, turn: Turn) -> None:
        if self.turns.take(turn, 60.0):
            self.given.append(turn)

    def end(self, turn: Turn, so_many: int = 1) -> list[Turn]:
        """Who has a turn after this one's."""
        before = len(self.given)
        self.turns.end(turn)
        eventually(lambda: len(self.given) >= before + so_many, "the next turns")
        return self.given[before:]


def test_where_there_are_cores_for_all_nobody_needs_to_ask() -> None:
    hours = Hours(cores=4)
    first, second = hours.pipeline(cores=1), hours.pipeline(cores=3)
    assert not hours.turns.scarce
    third = hours.pipeline()
    assert hours.turns.scarce
    hours.turns.leave(second)
    assert not hours.turns.scarce
    hours.turns.want(first, 0, 64)  # as many as there are
    assert hours.turns.scarce
    hours.turns.leave(third)
    hours.turns.leave(third)
    assert not hours.turns.scarce


def test_who_has_waited_longest_is_next_whatever_the_order_of_joining() -> None:
    hours = Hours(cores=1)
    running = hours.running()
    one, two, three = (hours.pipeline() for _ in range(3))
    for turn in (two, three, one):
        hours.wait(turn)
    assert hours.turns.awaited
    assert [running] != hours.end(running) == [two]
    assert hours.end(two) == [three]
    assert hours.end(three) == [one]
    assert not hours.turns.awaited


def test_who_asks_again_has_waited_since_it_asked_first() -> None:
    hours = Hours(cores=1)
    running = hours.running()
    early, late = hours.pipeline(), hours.pipeline()
    assert not hours.turns.take(early, 0.0)
    hours.wait(late)
    hours.wait(early)
    assert hours.end(running) == [early]
    assert hours.end(early) == [late]


def test_as_many_at_a_time_as_there_are_cores() -> None:
    hours = Hours(cores=2)
    one, two = hours.running(), hours.running()
    three, four, five = (hours.pipeline() for _ in range(3))
    for turn in (three, four, five):
        hours.wait(turn)
    assert hours.given == []
    assert hours.end(one) == [three]
    assert hours.end(two) == [four]
    assert hours.end(four) == [five]


def test_a_higher_priority_goes_first_and_yet_nobody_waits_for_ever() -> None:
    hours = Hours(cores=1)
    running, patient, second = hours.running(), hours.pipeline(), hours.pipeline()
    first = [hours.pipeline(priority=1) for _ in range(OVERTAKEN + 2)]
    hours.wait(patient)
    hours.wait(second)
    for turn in first:
        hours.wait(turn)
    for turn in first[:OVERTAKEN]:
        assert hours.end(running) == [turn]
        running = turn
    assert hours.end(running) == [patient]
    for turn, before in zip(first[OVERTAKEN:], [patient, *first[OVERTAKEN:]], strict=False):
        assert hours.end(before) == [turn]
    assert hours.end(first[-1]) == [second]


def test_of_several_priorities_the_highest_goes_first() -> None:
    hours = Hours(cores=1)
    running = hours.running()
    low, middle, high = (hours.pipeline(priority) for priority in (-5, 0, 5))
    for turn in (low, middle, high):
        hours.wait(turn)
    assert hours.end(running) == [high]
    assert hours.end(high) == [middle]
    assert hours.end(middle) == [low]


def test_who_wants_several_cores_gets_them_though_others_would_fit_before() -> None:
    hours = Hours(cores=2)
    one, two = hours.running(), hours.running()
    wide, narrow = hours.pipeline(cores=2), hours.pipeline()
    hours.wait(wide)
    hours.wait(narrow)
    hours.turns.end(one)
    assert not hours.turns.take(one, 0.0)  # a core is free, but it is kept for who needs both
    assert hours.end(two) == [wide]
    assert hours.end(wide) == [narrow]


def test_who_gives_up_waiting_lets_those_behind_it_go() -> None:
    hours = Hours(cores=2)
    hours.running()
    wide, narrow = hours.pipeline(cores=2), hours.pipeline()
    asking = threading.Thread(target=hours.turns.take, args=(wide, 0.5))
    asking.start()
    eventually(lambda: wide.since, "a pipeline that waits")
    hours.wait(narrow)
    eventually(lambda: hours.given == [narrow], "the turn of who fits")
    asking.join()
    assert not wide.began


def test_a_run_that_hangs_holds_up_nobody_for_ever_and_gives_back_nothing_twice() -> None:
    hours = Hours(cores=1)
    hung, other, third = hours.running(), hours.pipeline(), hours.pipeline()
    assert not hours.turns.take(other, 0.0)
    hours.now += LONGEST
    assert hours.turns.take(other, 0.0)
    hours.turns.end(hung)  # it has come back after all
    assert not hours.turns.take(third, 0.0)
    hours.turns.end(other)
    assert hours.turns.take(third, 0.0)


def test_a_pipeline_that_goes_gives_its_turn_back() -> None:
    hours = Hours(cores=1)
    gone, other = hours.running(), hours.pipeline()
    hours.wait(other)
    hours.turns.leave(gone)
    eventually(lambda: hours.given == [other], "the turn of who is left")
