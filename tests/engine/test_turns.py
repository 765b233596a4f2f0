"""Who has the next turn: the highest priority, of these who has waited longest; nobody waits for ever."""

from __future__ import annotations

import threading

from edge_infer.engine.model.run_scheduler import LONGEST, OVERTAKEN, Turn, Turns
from tests.broker import eventually


class Board:
    """A clock that stands still unless it is set, and pipelines that wait for their turns by it."""

    def __init__(self, cores: int) -> None:
        self.now = 1.0
        self.turns = Turns(cores, lambda: self.now)
        self.given: list[Turn] = []

    def pipeline(self, priority: int = 0, cores: int = 1) -> Turn:
        turn = self.turns.join()
        self.turns.want(turn, priority, cores)
        return turn

    def shadow(self, cores: int = 1) -> Turn:
        turn = self.turns.join(spare=True)
        self.turns.want(turn, 0, cores)
        return turn

    def running(self, priority: int = 0, cores: int = 1) -> Turn:
        """A pipeline that has its turn."""
        turn = self.pipeline(priority, cores)
        assert self.turns.take(turn, 0.0)
        return turn

    def wait(self, turn: Turn) -> None:
        """It asks for its turn, a little after whoever asked last."""
        self.now += 0.001
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
    board = Board(cores=4)
    first, second = board.pipeline(cores=1), board.pipeline(cores=3)
    assert not board.turns.scarce
    third = board.pipeline()
    assert board.turns.scarce
    board.turns.leave(second)
    assert not board.turns.scarce
    board.turns.want(first, 0, 64)  # as many as there are
    assert board.turns.scarce
    board.turns.leave(third)
    board.turns.leave(third)
    assert not board.turns.scarce


def test_who_has_waited_longest_is_next_whatever_the_order_of_joining() -> None:
    board = Board(cores=1)
    running = board.running()
    one, two, three = (board.pipeline() for _ in range(3))
    for turn in (two, three, one):
        board.wait(turn)
    assert board.turns.contested
    assert board.end(running) == [two]
    assert board.end(two) == [three]
    assert board.end(three) == [one]
    assert not board.turns.contested


def test_who_asks_again_has_waited_since_it_asked_first() -> None:
    board = Board(cores=1)
    running = board.running()
    early, late = board.pipeline(), board.pipeline()
    assert not board.turns.take(early, 0.0)
    board.wait(late)
    board.wait(early)
    assert board.end(running) == [early]
    assert board.end(early) == [late]


def test_as_many_at_a_time_as_there_are_cores() -> None:
    board = Board(cores=2)
    one, two = board.running(), board.running()
    three, four, five = (board.pipeline() for _ in range(3))
    for turn in (three, four, five):
        board.wait(turn)
    assert board.given == []
    assert board.end(one) == [three]
    assert board.end(two) == [four]
    assert board.end(four) == [five]


def test_a_higher_priority_goes_first_and_yet_nobody_waits_for_ever() -> None:
    board = Board(cores=1)
    running, patient, second = board.running(), board.pipeline(), board.pipeline()
    first = [board.pipeline(priority=1) for _ in range(OVERTAKEN + 2)]
    board.wait(patient)
    board.wait(second)
    for turn in first:
        board.wait(turn)
    for turn in first[:OVERTAKEN]:
        assert board.end(running) == [turn]
        running = turn
    assert board.end(running) == [patient]
    for turn, before in zip(first[OVERTAKEN:], [patient, *first[OVERTAKEN:]], strict=False):
        assert board.end(before) == [turn]
    assert board.end(first[-1]) == [second]


def test_of_several_priorities_the_highest_goes_first() -> None:
    board = Board(cores=1)
    running = board.running()
    low, middle, high = (board.pipeline(priority) for priority in (-5, 0, 5))
    for turn in (low, middle, high):
        board.wait(turn)
    assert board.end(running) == [high]
    assert board.end(high) == [middle]
    assert board.end(middle) == [low]


def test_a_shadow_is_never_before_anybody_however_long_it_has_waited() -> None:
    board = Board(cores=1)
    running, shadow = board.running(), board.shadow()
    board.wait(shadow)
    assert not board.turns.contested  # no pipeline has to make haste for it
    low, *others = (board.pipeline(priority=-5), *(board.pipeline() for _ in range(OVERTAKEN + 2)))
    for turn in (*others, low):
        board.wait(turn)
    assert board.turns.contested
    for turn in others[: OVERTAKEN + 2]:
        assert board.end(running) == [turn]
        running = turn
    assert board.end(running) == [low]
    assert board.end(low) == [shadow]


def test_a_shadow_gets_no_core_that_is_kept_for_a_pipeline_and_keeps_none_itself() -> None:
    board = Board(cores=2)
    one, two = board.running(), board.running()
    wide, shadow = board.pipeline(cores=2), board.shadow(cores=2)
    board.wait(shadow)
    board.wait(wide)
    board.turns.end(one)
    assert board.given == []
    assert board.end(two) == [wide]
    narrow = board.pipeline()
    board.wait(narrow)
    assert board.end(wide) == [narrow]
    last = board.running()  # the shadow waits for both cores, and holds up nobody
    board.turns.end(narrow)
    assert board.end(last) == [shadow]


def test_with_a_shadow_there_may_be_too_few_cores() -> None:
    board = Board(cores=1)
    board.pipeline()
    assert not board.turns.scarce
    shadow = board.shadow()
    assert board.turns.scarce
    board.turns.leave(shadow)
    assert not board.turns.scarce


def test_who_wants_several_cores_gets_them_though_others_would_fit_before() -> None:
    board = Board(cores=2)
    one, two = board.running(), board.running()
    wide, narrow = board.pipeline(cores=2), board.pipeline()
    board.wait(wide)
    board.wait(narrow)
    board.turns.end(one)
    assert not board.turns.take(one, 0.0)  # a core is free, but it is kept for who needs both
    assert board.end(two) == [wide]
    assert board.end(wide) == [narrow]


def test_who_gives_up_waiting_lets_those_behind_it_go_when_they_ask_again() -> None:
    board = Board(cores=2)
    board.running()
    wide, narrow = board.pipeline(cores=2), board.pipeline()
    assert not board.turns.take(wide, 0.0)
    assert board.turns.take(narrow, 0.0)


def test_what_is_kept_for_one_that_asks_again_goes_to_nobody_between() -> None:
    board = Board(cores=2)
    one, two = board.running(), board.running()
    wide, narrow = board.pipeline(cores=2), board.pipeline()
    asking = threading.Thread(target=board.turns.take, args=(wide, 0.5))
    asking.start()
    eventually(lambda: wide.since, "a pipeline that waits")
    board.wait(narrow)
    board.turns.end(one)
    asking.join()
    assert board.given == []
    board.wait(wide)
    eventually(lambda: wide in board.turns._waiting, "that it asks again")
    assert board.end(two) == [wide]
    assert board.end(wide) == [narrow]


def test_a_run_that_hangs_holds_up_nobody_for_ever_and_gives_back_nothing_twice() -> None:
    board = Board(cores=1)
    hung, other, third = board.running(), board.pipeline(), board.pipeline()
    assert not board.turns.take(other, 0.0)
    board.now += LONGEST
    assert board.turns.take(other, 0.0)
    board.turns.end(hung)  # it has come back after all
    assert not board.turns.take(third, 0.0)
    board.turns.end(other)
    assert board.turns.take(third, 0.0)


def test_a_pipeline_that_goes_gives_its_turn_back() -> None:
    board = Board(cores=1)
    gone, other = board.running(), board.pipeline()
    board.wait(other)
    board.turns.leave(gone)
    eventually(lambda: board.given == [other], "the turn of who is left")
