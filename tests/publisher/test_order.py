"""Each pipeline's numbers leave in order: live ones among themselves, and late ones among themselves."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_infer.ipc.channel import MAX_PLAN_BYTES, MAX_RESULT_BYTES, Channel
from edge_infer.ipc.delivered_numbers import DeliveredNumbers, new_delivered_numbers
from edge_infer.ipc.messages import ApplyPlan, EngineDown, EngineHello, EngineUp, PublisherReport, Tally, handover
from edge_infer.plan.records import Plan
from edge_infer.publisher.health import Board
from edge_infer.publisher.outbox.database import Database, SeriesRow
from edge_infer.publisher.outbox.entry import Entry, MessageSeries
from edge_infer.publisher.outbox.stored_outbox import READY_WITHIN, StoredOutbox
from edge_infer.publisher.process import FROM_ENGINE, FROM_SUPERVISOR, MOST_AT_ONCE, Publisher
from tests.broker import DEADLINE, free_port
from tests.publisher.room import pair
from tests.publisher.samples import BOOT, model_plan, mqtt_plan, plan, result
from tests.publisher.test_stored import DOOR, EVENTS, PLAN, YARD, Time, drain, even, opened, stored, until


def test_what_waited_does_not_overtake_what_is_still_in_a_slow_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, goes_on, contents = Time(), threading.Event(), Database.contents
    with opened(tmp_path) as outbox:
        for seq in range(1, 41):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 40)

    def slow(database: Database, above: dict[MessageSeries, int]) -> list[SeriesRow]:
        goes_on.wait(DEADLINE)
        return contents(database, above)

    monkeypatch.setattr(Database, "contents", slow)
    with closing(StoredOutbox(clock=clock)) as outbox:
        outbox.use(tmp_path, PLAN, "kernel")
        clock.ahead += READY_WITHIN + 0.1
        assert outbox.ready, "the engine is not kept waiting"
        outbox.resume("aaaaaa", (Tally("door", "result", 60, 40),))
        for seq in range(41, 51):
            outbox.put(DOOR, seq, b"{}", late=True)  # no connection yet
        for seq in range(51, 56):
            outbox.put(DOOR, seq, b"{}", late=False)
        assert [(entry.seq, entry.late) for entry in drain(outbox, 5)] == [(seq, False) for seq in range(51, 56)]
        assert outbox.next(()) is None
        goes_on.set()
        assert [entry.seq for entry in drain(outbox, 50)] == list(range(1, 51))
        even(outbox)


def test_a_file_that_never_answers_does_not_hold_what_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, goes_on, contents = Time(), threading.Event(), Database.contents

    def hang(database: Database, above: dict[MessageSeries, int]) -> list[SeriesRow]:
        goes_on.wait(DEADLINE)
        return contents(database, above)

    monkeypatch.setattr(Database, "contents", hang)
    with closing(StoredOutbox(clock=clock)) as outbox:
        outbox.use(tmp_path, PLAN, "kernel")
        outbox.put(DOOR, 1, b"{}", late=True)
        assert outbox.next(()) is None
        clock.ahead += 11.0
        assert [entry.seq for entry in drain(outbox, 1)] == [1]
        goes_on.set()
        until(outbox, lambda: not outbox.account().degraded, "the file")


@contextmanager
def between(before: Plan) -> Iterator[tuple[Publisher, StoredOutbox, Channel, Channel]]:
    """A publisher that an engine has greeted, and the supervisor's and the engine's ends of its channels."""
    ends, outbox = (pair(), pair()), StoredOutbox()
    supervisor, engine = Channel(ends[0][0], (PublisherReport,)), Channel(ends[1][0], ())
    control, results = (
        Channel(ends[0][1], FROM_SUPERVISOR, MAX_PLAN_BYTES),
        Channel(ends[1][1], FROM_ENGINE, MAX_RESULT_BYTES),
    )
    publisher = Publisher(control, results, outbox, Board())
    assert supervisor.send(EngineUp(BOOT))
    assert engine.send(EngineHello(BOOT))
    publisher._apply(before, ())
    outbox._known = True  # nothing waits from before
    publisher._handle_control()
    publisher._take(MOST_AT_ONCE)
    yield publisher, outbox, supervisor, engine
    assert publisher._link is not None
    publisher._link.close()
    outbox.close()
    for channel in (supervisor, engine, control, results):
        channel.close()


def test_a_result_in_hand_keeps_its_place_when_its_engine_is_buried() -> None:
    """It waits for the labels of a new model; the order that tells them is followed by the death of the engine."""
    before, new = plan(mqtt_plan(free_port())), model_plan("others", sha="f" * 64)
    with between(before) as (publisher, outbox, supervisor, engine):
        for seq in (1, 2, 3):
            assert engine.send(handover("door", result(seq, sha="f" * 8, model=new.title)))
        assert supervisor.send(ApplyPlan(plan(before.mqtt, model=new)))
        assert supervisor.send(EngineDown("engine_failed", BOOT))
        publisher._take(MOST_AT_ONCE)
        assert outbox.account().lost == {}
        assert [entry.seq for entry in drain(outbox, 3)] == [1, 2, 3]


def test_results_that_take_long_leave_time_for_the_supervisor_and_the_broker() -> None:
    with between(plan(mqtt_plan(free_port()))) as (publisher, outbox, supervisor, engine):
        for seq in range(1, 6):
            assert engine.send(handover("door", result(seq)))
        for taken in (1, 2):  # the time is over after each
            publisher._take(MOST_AT_ONCE, 0.0)
            assert len(publisher._early) == taken
        assert supervisor.send(EngineDown("engine_failed", BOOT))
        publisher._handle_control()
        assert [entry.seq for entry in drain(outbox, 5)] == [1, 2, 3, 4, 5]


STEPS = (
    "give",
    "give",
    "flood",
    "send",
    "send",
    "ack",
    "commit",
    "tell",
    "wait",
    "cut",
    "connect",
    "connect",
    "kill",
    "race",
)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 12)), max_size=60))
def test_numbers_leave_in_order_over_any_history(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder))
        for step, count in steps:
            getattr(story, step)(count)
            even(story.outbox)
        story.end()


class Story:
    """An engine, a connection and a broker around an outbox; connections are cut and publishers killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = Time()
        self._up = False
        self._given = dict.fromkeys((DOOR, YARD, EVENTS), 0)
        self._safe: dict[MessageSeries, tuple[int, int]] = dict.fromkeys(self._given, (0, 0))
        self._under_way: list[Entry] = []
        self._heard: dict[MessageSeries, set[int]] = {series: set() for series in self._given}
        self._highest: dict[tuple[MessageSeries, bool], int] = {}
        self._acked: set[tuple[MessageSeries, int]] = set()
        self._memory = new_delivered_numbers()
        self._delivered = DeliveredNumbers(os.dup(self._memory))
        self.outbox = opened(folder, clock=self._clock, delivered=self._delivered)

    def give(self, count: int) -> None:
        for series in self._given:
            for _ in range(count):
                self._given[series] += 1
                self._put(series, self._given[series])

    def flood(self, count: int) -> None:
        """So many that memory keeps only some of those on the disk."""
        self.give(50 * count)

    def send(self, count: int) -> None:
        """The broker takes it, and acknowledges it some time."""
        for _ in range(10 * count if self._up else 0):
            if entry := self.outbox.next(()):
                assert (entry.series, entry.seq) not in self._acked, "sent again"
                self._under_way.append(entry)

    def ack(self, count: int) -> None:
        for entry in self._under_way[:count]:
            self._hear(entry)
            self.outbox.acked(entry)
            self._acked.add((entry.series, entry.seq))
        del self._under_way[:count]

    def commit(self, _count: int) -> None:
        self._clock.ahead += 1.0
        self.outbox.step()
        until(self.outbox, lambda: self.outbox._writing is None, "a commit")

    def wait(self, count: int) -> None:
        self._clock.ahead += count
        self.outbox.step()

    def tell(self, _count: int) -> None:
        for acked in self.outbox.safe():
            self._safe[MessageSeries(acked.pipeline, acked.boot, acked.kind)] = (acked.seq, acked.lost)
            self.outbox.told(acked)

    def connect(self, _count: int) -> None:
        self._up = True

    def cut(self, count: int) -> None:
        """Some of what was under way has arrived all the same."""
        for entry in self._under_way[:count]:
            self._hear(entry)
        self._under_way.clear()
        self._up = False
        self.outbox.rewind()

    def kill(self, count: int, *, at_once: bool = False) -> None:
        """The publisher is killed with its memory; the engine says again what it was not told to be safe."""
        for entry in self._under_way[:count]:
            self._hear(entry)
        self._under_way.clear()
        self._up = at_once
        assert self.outbox._disk
        self.outbox._disk.close(DEADLINE)
        self._delivered.close()
        self._delivered = DeliveredNumbers(os.dup(self._memory))
        self.outbox = opened(self._folder, clock=self._clock, delivered=self._delivered)
        tallies = [Tally(s.pipeline, s.kind, self._given[s], *self._safe[s]) for s in self._given if self._given[s]]
        self.outbox.resume("aaaaaa", tallies)
        for series, last in self._given.items():
            for seq in range(self._safe[series][0] + 1, last + 1):
                self._put(series, seq)

    def race(self, count: int) -> None:
        """The next publisher is connected before the engine has said anything again."""
        self.kill(count, at_once=True)

    def end(self) -> None:
        def drained() -> bool:
            self.send(100)
            self.ack(len(self._under_way))
            return self.outbox.account().pending == 0

        self.connect(0)
        until(self.outbox, drained, "an empty outbox")
        assert {series: len(heard) for series, heard in self._heard.items()} == self._given
        assert self.outbox.account().lost == {}
        self.outbox.close()
        self._delivered.close()
        os.close(self._memory)

    def _put(self, series: MessageSeries, seq: int) -> None:
        self.outbox.put(series, seq, b"%d" % seq, late=not self._up)

    def _hear(self, entry: Entry) -> None:
        """As a subscriber does: what it has already, it drops."""
        if entry.seq in self._heard[entry.series]:
            return
        self._heard[entry.series].add(entry.seq)
        assert entry.seq > self._highest.get((entry.series, entry.late), 0), "out of order"
        self._highest[entry.series, entry.late] = entry.seq
