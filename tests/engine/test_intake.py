"""When a frame is taken: in turn, fresh from a camera, and with no more turns than are needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_infer.engine.input.feed import Cursor, Feed
from edge_infer.engine.input.next_frame import Intake
from edge_infer.engine.model.loaded_model import Staged
from edge_infer.engine.model.run_scheduler import Turn, Turns
from edge_infer.engine.model.serving import Serving
from edge_infer.frames.frame import Captured
from edge_infer.ipc.messages import Delegated
from edge_infer.plan.records import PipelinePlan
from tests.broker import eventually
from tests.engine.plans import pipeline
from tests.engine.test_ahead import loaded, offer, plan
from tests.engine.test_feed import PLAN


def slow() -> Callable[[], float]:
    """A clock by which every turn has just begun."""
    return lambda: time.monotonic() + 3600.0


def fast() -> Callable[[], float]:
    """A clock by which every turn has lasted long."""
    return lambda: time.monotonic() - 3600.0


class Desk:
    """A pipeline's intake on a board of one core, which another pipeline has."""

    def __init__(self, wanted: PipelinePlan, clock: Callable[[], float] = time.monotonic) -> None:
        self.turns = Turns(1, clock)
        self.feed = Feed(PLAN)
        self.cursor: Cursor = self.feed.attach()
        self.intake = Intake(self.feed, self.cursor, wanted.name, self.turns, threading.Event())
        self.other: Turn = self.turns.join()
        self.serving = Serving(wanted, "abcdef", lambda: 1)
        self.intake.serve(self.serving)

    def asks(self) -> list[Captured | None]:
        """Begins to ask, until there is a frame and its turn has come; the answer is in the list then."""
        answer: list[Captured | None] = []

        def ask() -> None:
            while (taken := self.intake.next(self.serving)) is None:
                pass
            answer.append(taken)

        threading.Thread(target=ask, daemon=True).start()
        return answer


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(pipeline())
    yield made
    made.intake.close()


def number(answer: list[Captured | None]) -> int:
    """Of the frame that was taken."""
    (taken,) = eventually(lambda: answer, "a frame")
    assert taken is not None
    return int(taken.number)  # type: ignore[union-attr]


def test_who_waits_for_its_turn_has_taken_no_frame_yet(desk: Desk) -> None:
    desk.turns.take(desk.other, 0.0)
    offer(desk.feed, 1)
    answer = desk.asks()
    eventually(lambda: desk.turns.contested, "a pipeline that waits")
    offer(desk.feed, 2, 3)
    assert answer == []
    desk.turns.end(desk.other)
    assert number(answer) == 3
    assert desk.cursor.dropped == 2


def test_without_a_frame_no_turn_is_asked_for(desk: Desk) -> None:
    assert desk.intake.next(desk.serving) is None
    assert desk.turns.take(desk.other, 0.0)


def test_with_cores_for_all_no_turn_is_asked_for(desk: Desk) -> None:
    desk.turns.leave(desk.other)
    offer(desk.feed, 1)
    assert desk.intake.next(desk.serving) is not None
    assert desk.turns.take(desk.other, 0.0)


@pytest.mark.parametrize(("lossless", "free"), [(False, True), (True, False)])
def test_a_quick_model_waits_only_where_nothing_makes_it_rest(desk: Desk, *, lossless: bool, free: bool) -> None:
    desk.serving.quick = True
    desk.turns.take(desk.other, 0.0)
    offer(desk.feed, 1)
    desk.feed.lossless = lossless
    assert (desk.intake.next(desk.serving) is not None) is free


@pytest.mark.parametrize(("failure", "free"), [("", True), ("it has no power", False)])
def test_a_model_that_a_delegate_runs_wants_no_core(desk: Desk, failure: str, *, free: bool) -> None:
    class Elsewhere(Serving):
        def delegated(self) -> Delegated:
            return Delegated(1.0 if free else 0.0, failure)

    serving = Elsewhere(pipeline(), "abcdef", lambda: 1)
    desk.intake.serve(serving)
    desk.turns.join()
    desk.turns.take(desk.other, 0.0)
    offer(desk.feed, 1)
    assert (desk.intake.next(serving) is not None) is free


@pytest.mark.parametrize(("newer", "taken", "dropped"), [((), 1, 0), ((2,), 2, 1)])
def test_what_was_prepared_is_used_unless_there_is_a_newer_frame(
    desk: Desk, newer: tuple[int, ...], taken: int, dropped: int
) -> None:
    serving = loaded(plan())
    offer(desk.feed, 1)
    desk.intake.begin(serving)
    eventually(lambda: desk.cursor.last == 1, "a frame that is prepared")
    desk.turns.take(desk.other, 0.0)
    answer = desk.asks()
    eventually(lambda: desk.turns.contested, "a pipeline that waits")
    offer(desk.feed, *newer)
    desk.turns.end(desk.other)
    assert number(answer) == taken
    assert desk.cursor.dropped == dropped
    serving.close()


def test_where_others_wait_nothing_is_prepared_that_would_become_old(desk: Desk) -> None:
    serving, third = loaded(plan()), desk.turns.join()
    desk.turns.take(desk.other, 0.0)
    waiting = threading.Thread(target=desk.turns.take, args=(third, 60.0), daemon=True)
    waiting.start()
    eventually(lambda: desk.turns.contested, "a pipeline that waits")
    offer(desk.feed, 1)
    desk.intake.begin(serving)
    desk.turns.end(desk.other)
    waiting.join(10.0)
    desk.turns.end(third)
    answer = desk.asks()
    assert number(answer) == 1
    assert answer[0] is not None
    assert not isinstance(serving.prepared(answer[0])[1][0], Staged)
    serving.close()


@pytest.mark.parametrize(("clock", "goes_on"), [(slow, True), (fast, False)])
def test_a_short_turn_goes_on_with_the_frames_that_are_there(
    clock: Callable[[], Callable[[], float]], *, goes_on: bool
) -> None:
    desk = Desk(pipeline(), clock())
    offer(desk.feed, 1)
    assert desk.intake.next(desk.serving) is not None
    offer(desk.feed, 2)
    desk.intake.used(desk.serving)
    assert desk.turns.take(desk.other, 0.0) is not goes_on
    desk.turns.end(desk.other)
    assert desk.intake.next(desk.serving) is not None
    desk.intake.used(desk.serving)  # there is no third one
    assert desk.turns.take(desk.other, 0.0)
    desk.intake.close()


def test_a_limit_of_frames_ends_a_turn() -> None:
    desk = Desk(pipeline(fps=0.01), slow())
    offer(desk.feed, 1)
    assert desk.intake.next(desk.serving) is not None
    assert desk.serving.pacer.due(time.monotonic())
    offer(desk.feed, 2)
    desk.intake.used(desk.serving)
    assert desk.turns.take(desk.other, 0.0)
    desk.intake.close()


def test_a_pause_and_the_end_give_the_turn_back(desk: Desk) -> None:
    offer(desk.feed, 1)
    assert desk.intake.next(desk.serving) is not None
    assert not desk.turns.take(desk.other, 0.0)
    desk.intake.pause()
    assert desk.turns.take(desk.other, 0.0)
    desk.turns.end(desk.other)
    offer(desk.feed, 2)
    assert desk.intake.next(desk.serving) is not None
    desk.intake.close()
    assert desk.turns.take(desk.other, 0.0)
    desk.intake.close()
