"""The outbox on disk: what waits outlives the process, within its bounds, and the account stays even."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_infer.contract.topics import Place
from edge_infer.ipc.delivered_numbers import DeliveredNumbers, new_delivered_numbers
from edge_infer.ipc.messages import Acked, Tally
from edge_infer.plan.records import OutboxPlan
from edge_infer.publisher.outbox import database, queues, stored_outbox
from edge_infer.publisher.outbox.database import CHUNK, FILE, MAX_SERIES, Batch, Database, Dropped, Limits
from edge_infer.publisher.outbox.database_worker import DatabaseOpened, DatabaseWorker, Open, Order
from edge_infer.publisher.outbox.entry import Entry, MessageSeries
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from tests.broker import DEADLINE, eventually

DOOR, EVENTS, YARD = (
    MessageSeries("door", "aaaaaa", "result"),
    MessageSeries("door", "aaaaaa", "event"),
    MessageSeries("yard", "aaaaaa", "result"),
)
PLAN = OutboxPlan()


class Time:
    """A clock that a test sets forward; it also goes on by itself, so that deadlines pass."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def opened(
    folder: Path,
    plan: OutboxPlan = PLAN,
    clock: Callable[[], float] | None = None,
    delivered: DeliveredNumbers | None = None,
) -> StoredOutbox:
    outbox = StoredOutbox(clock=clock or time.monotonic, delivered=delivered)
    outbox.use(folder, plan, "kernel")
    until(outbox, lambda: outbox.ready, "an open file")
    return outbox


def until(outbox: StoredOutbox, condition: Callable[[], object], what: str) -> None:
    def fits() -> object:
        outbox.step()
        return condition()

    eventually(fits, what)


def stored(outbox: StoredOutbox, seq: int, series: MessageSeries = DOOR) -> None:
    """Waits until the engine need not keep this number."""
    until(outbox, lambda: safe(outbox, series) >= seq, f"{seq} of {series} on the disk")


def safe(outbox: StoredOutbox, series: MessageSeries) -> int:
    return next((a.seq for a in outbox.safe() if (a.pipeline, a.boot, a.kind) == series), 0)


def drain(outbox: StoredOutbox, count: int, *held: Place) -> list[Entry]:
    found: list[Entry] = []

    def more() -> bool:
        while entry := outbox.next(held):
            found.append(entry)
        return len(found) >= count

    until(outbox, more, f"{count} entries")
    return found


def even(outbox: StoredOutbox) -> None:
    account = outbox.account()
    assert account.produced == account.delivered + account.pending + sum(account.lost.values())
    assert account.pending == len(outbox)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    eventually(lambda: "disk" not in {thread.name for thread in threading.enumerate()}, "end of the thread")


def test_what_waits_outlives_the_process_and_is_late(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 1001):
            outbox.put(DOOR, seq, b"%d" % seq, late=True)
        stored(outbox, 1000)
        assert outbox.safe() == [Acked("door", "aaaaaa", "result", 1000)]
        even(outbox)
    with opened(tmp_path) as outbox:
        assert outbox.account().pending == 1000
        found = drain(outbox, 1000)
        assert [entry.seq for entry in found] == list(range(1, 1001))
        assert [int(entry.payload) for entry in found] == list(range(1, 1001))
        assert all(entry.late for entry in found)
        for entry in found[:600]:
            outbox.acked(entry)
        even(outbox)
    with opened(tmp_path) as outbox:
        account = outbox.account()
        assert (account.produced, account.delivered, account.pending) == (1000, 600, 400)
        assert [entry.seq for entry in drain(outbox, 400)] == list(range(601, 1001))


def test_what_is_acknowledged_at_once_is_never_written(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 101):
            outbox.put(DOOR, seq, b"{}", late=False)
            entry = outbox.next(())
            assert entry
            outbox.acked(entry)
        stored(outbox, 100)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        assert file.execute("SELECT count(*) FROM entry").fetchone() == (0,)
        assert file.execute("SELECT upto, waiting FROM series").fetchone() == (100, 0)


def test_a_publisher_killed_with_its_memory_goes_on_where_the_engine_knows(tmp_path: Path) -> None:
    killed = opened(tmp_path)
    for seq in range(1, 11):
        killed.put(DOOR, seq, b"{}", late=True)
    stored(killed, 10)
    for entry in drain(killed, 10)[:4]:
        killed.acked(entry)  # and never removed from the disk
    killed._disk.close(5)  # type: ignore[union-attr]
    with opened(tmp_path) as outbox:
        outbox.resume("aaaaaa", (Tally("door", "result", 14, 12, 1),))
        assert not outbox.put(DOOR, 12, b"{}", late=False)
        assert outbox.put(DOOR, 13, b"{}", late=False)
        even(outbox)
        account = outbox.account()
        assert (account.produced, account.pending, account.delivered, account.lost) == (13, 11, 1, {"unknown": 1})


def test_what_was_acknowledged_and_is_still_on_the_disk_is_not_sent_again(tmp_path: Path) -> None:
    memory = new_delivered_numbers()
    killed = opened(tmp_path, delivered=DeliveredNumbers(os.dup(memory)))
    for seq in range(1, 2 * CHUNK + 1):
        killed.put(DOOR, seq, b"{}", late=True)
        killed.put(YARD, seq, b"{}", late=True)
    stored(killed, 2 * CHUNK, YARD)
    for entry in drain(killed, 4 * CHUNK):
        if entry.series == DOOR and entry.seq not in (7, 2 * CHUNK):
            killed.acked(entry)  # and never removed from the disk
    killed._disk.close(5)  # type: ignore[union-attr]
    for _ in range(2):  # the next one is killed, too, before it removes any
        with opened(tmp_path, delivered=DeliveredNumbers(os.dup(memory))) as outbox:
            found = drain(outbox, 2 * CHUNK + 2)
            assert [entry.seq for entry in found if entry.series == DOOR] == [7, 2 * CHUNK]
            assert [entry.seq for entry in found if entry.series == YARD] == [*range(1, 2 * CHUNK + 1)]
            until(outbox, lambda: not outbox.reading and outbox.next(()) is None, "the end of the backlog")
            assert (outbox.account().delivered, outbox.account().pending) == (2 * CHUNK - 2, 2 * CHUNK + 2)
            account = outbox.account()
            assert account.produced == account.delivered + account.pending
            outbox._disk.close(5)  # type: ignore[union-attr]
            outbox._disk = None
    with opened(tmp_path, delivered=DeliveredNumbers(memory)) as outbox:
        for entry in drain(outbox, 2 * CHUNK + 2):
            outbox.acked(entry)
        until(outbox, lambda: outbox.account().pending == 0, "an empty outbox")
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        assert file.execute("SELECT count(*) FROM entry").fetchone() == (0,)


def test_a_boot_whose_witnesses_died_is_closed_with_what_is_unknown(tmp_path: Path) -> None:
    killed = opened(tmp_path)
    for seq in range(1, 11):
        killed.put(DOOR, seq, b"{}", late=True)
    stored(killed, 10)
    killed._disk.close(5)  # type: ignore[union-attr]
    with opened(tmp_path) as outbox:
        outbox.resume("aaaaaa", (tally := Tally("door", "result", 20, 12),))
        assert outbox.put(DOOR, 16, b"{}", late=True, missing="unknown")
        outbox.ended("aaaaaa", (tally,))
        outbox.started("bbbbbb")
        even(outbox)
        account = outbox.account()
        assert (account.produced, account.pending, account.delivered, account.lost) == (20, 11, 2, {"unknown": 7})
        outbox.ended("aaaaaa", (tally,))
        assert outbox.account() == account


def test_what_is_left_out_on_purpose_is_not_lost_over_restarts(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=False)
        outbox.leave_out(DOOR, 133)  # the file of open events was at 4
        outbox.put(DOOR, 133, b"{}", late=False)
        before = outbox.account()
        assert (before.produced, before.pending, before.lost) == (2, 2, {})
    with opened(tmp_path) as outbox:
        even(outbox)
        assert outbox.account() == before


def test_what_is_left_out_before_the_file_is_read_does_not_replace_its_account(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 5):
            outbox.put(EVENTS, seq, b"{}", late=False)
        for entry in drain(outbox, 4)[:3]:
            outbox.acked(entry)
        stored(outbox, 4, EVENTS)
    late = StoredOutbox()
    late.leave_out(EVENTS, 133)
    late.put(EVENTS, 133, b"{}", late=False)
    late.use(tmp_path, PLAN, "kernel")
    with late:
        until(late, lambda: late.ready, "an open file")
        even(late)
        account = late.account()
        assert (account.produced, account.delivered, account.pending, account.lost) == (5, 3, 2, {})
        assert {entry.seq for entry in drain(late, 2)} == {4, 133}


def test_a_denied_place_with_a_long_backlog_costs_the_others_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 20 * CHUNK):
            outbox.put(DOOR, seq, b"{}", late=True)
        outbox.put(YARD, 1, b"{}", late=True)
        stored(outbox, 1, YARD)
        held = (Place("result", "door"),)
        (entry,) = drain(outbox, 1, *held)
        assert entry.series == YARD
        started = time.perf_counter()
        for _ in range(1000):
            assert outbox.next(held) is None
        assert time.perf_counter() - started < 1.0
        assert len(drain(outbox, 20 * CHUNK - 1)) == 20 * CHUNK - 1


def test_live_ones_overtake_the_backlog_and_never_stop_it(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 101):
            outbox.put(DOOR, seq, b"{}", late=True)
        outbox.put(EVENTS, 1, b"{}", late=True)
        for seq in range(101, 131):
            outbox.put(DOOR, seq, b"{}", late=False)
        outbox.put(EVENTS, 2, b"{}", late=False)
        order = [(entry.series.kind, entry.seq) for entry in (outbox.next(()) for _ in range(10)) if entry]
        assert order[0] == ("event", 2)
        assert order[1:7] == [("result", seq) for seq in range(101, 107)]
        assert order[7] == ("event", 1)
        assert order[8:] == [("result", 107), ("result", 108)]


def test_the_oldest_give_way_on_the_disk_and_are_counted(tmp_path: Path) -> None:
    with opened(tmp_path, OutboxPlan(max_size=1 << 20)) as outbox:
        for seq in range(1, 4001):
            outbox.put(DOOR, seq, b"x" * 500, late=True)
            if seq % 1000 == 0:
                stored(outbox, seq)
        size = sum(path.stat().st_size for path in tmp_path.iterdir() if path.name == FILE)
        assert size <= 1 << 20
        even(outbox)
        account = outbox.account()
        assert account.lost["full"] > 1000
        left = drain(outbox, account.pending)
        assert [entry.seq for entry in left] == list(range(account.lost["full"] + 1, 4001))
    with opened(tmp_path, OutboxPlan(max_size=1 << 20)) as outbox:
        assert outbox.account() == account


def test_a_small_limit_includes_the_log_of_the_file(tmp_path: Path) -> None:
    clock, most = Time(), 1 << 20
    with opened(tmp_path, OutboxPlan(max_size=most), clock) as outbox:
        for first in range(1, 10_000, 100):
            for seq in range(first, first + 100):
                outbox.put(DOOR, seq, b"x" * 300, late=True)
            clock.ahead += 1.0
            outbox.step()
            until(outbox, lambda: outbox._writing is None, "a commit")
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= most


def test_more_at_once_than_the_bound_holds(tmp_path: Path) -> None:
    with opened(tmp_path, OutboxPlan(max_size=1 << 20)) as outbox:
        for seq in range(1, 5001):
            outbox.put(DOOR, seq, b"x" * 300, late=True)
        stored(outbox, 5000)
        assert (tmp_path / FILE).stat().st_size <= 1 << 20
        even(outbox)
        left = drain(outbox, outbox.account().pending)
        assert left[-1].seq == 5000
        assert len(left) + outbox.account().lost["full"] == 5000


def test_what_is_too_old_goes_and_time_switched_off_does_not_count(tmp_path: Path) -> None:
    clock = Time()
    with opened(tmp_path, OutboxPlan(max_age=3600.0), clock) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    clock.ahead = 1e9  # the board was off, or its uptime is another's
    outbox = StoredOutbox(clock=clock)
    outbox.use(tmp_path, OutboxPlan(max_age=3600.0), "another kernel")
    with outbox:
        until(outbox, lambda: outbox.ready, "an open file")
        outbox.put(DOOR, 2, b"{}", late=True)
        stored(outbox, 2)
        assert outbox.account().pending == 2
        clock.ahead += 3000.0
        outbox.put(DOOR, 3, b"{}", late=True)
        stored(outbox, 3)
        clock.ahead += 1000.0
        until(outbox, lambda: outbox.account().lost == {"old": 2}, "loss of what is old")
        even(outbox)
        assert [entry.seq for entry in drain(outbox, 1)] == [3]


@pytest.mark.parametrize("arrives", [False, True])
def test_what_becomes_too_old_in_flight_is_counted_once_over_a_kill(tmp_path: Path, arrives: bool) -> None:
    """The disk drops it, while it is still pending here."""
    clock, plan = Time(), OutboxPlan(max_age=60.0)
    killed = opened(tmp_path, plan, clock)
    for seq in (1, 2, 3):
        killed.put(DOOR, seq, b"{}", late=False)
    in_flight = drain(killed, 3)
    stored(killed, 3)
    clock.ahead += 100.0
    for seq in (4, 5):  # the first commit drops the old ones, the second one saves the account again
        killed.put(DOOR, seq, b"{}" * 400, late=True)
        stored(killed, seq)
    if arrives:
        for entry in in_flight:
            killed.acked(entry)
        killed.put(DOOR, 6, b"{}", late=True)
        stored(killed, 6)
    killed._disk.close(5)  # type: ignore[union-attr]
    with opened(tmp_path, plan, clock) as outbox:
        even(outbox)
        account = outbox.account()
        lost, delivered, pending = ({}, 3, 3) if arrives else ({"old": 3}, 0, 2)
        assert (account.lost, account.delivered, account.pending) == (lost, delivered, pending)
        for entry in drain(outbox, pending):
            outbox.acked(entry)
        even(outbox)
        assert (outbox.account().pending, outbox.account().bytes) == (0, 0)


def deletions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each commit has deleted."""
    found, write = list[int](), Database.write

    def counted(database: Database, batch: Batch, uptime: float) -> list[Dropped]:
        found.append(len(batch.gone))
        return write(database, batch, uptime)

    monkeypatch.setattr(Database, "write", counted)
    return found


def test_a_broker_that_is_far_away_causes_no_chain_of_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some messages are always in flight, so each commit stores messages that are delivered soon afterwards."""
    clock, commits = Time(), deletions(monkeypatch)
    with opened(tmp_path, clock=clock) as outbox:
        flying: deque[Entry] = deque()
        for seq in range(1, 6001):  # ten minutes, ten results a second, and 0.3 s until the acknowledgement
            outbox.put(DOOR, seq, b"{}", late=False)
            flying += drain(outbox, 1)
            if len(flying) > 3:
                outbox.acked(flying.popleft())
            clock.ahead += 0.1
            outbox.step()
            until(outbox, lambda: outbox._writing is None, "a commit")
        assert len(commits) <= 2 + 600 / stored_outbox.ACCOUNT_EVERY
        for entry in flying:
            outbox.acked(entry)
    with opened(tmp_path) as outbox:
        assert outbox.account().pending == 0
        assert outbox.account().delivered == 6000


@pytest.mark.parametrize("flying", [False, True])
def test_a_backlog_that_is_delivered_is_soon_deleted_from_the_disk(
    flying: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, found, few = Time(), deletions(monkeypatch), stored_outbox.FEW
    with opened(tmp_path, clock=clock) as outbox:
        for seq in range(1, 501):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 500)
        for entry in drain(outbox, 500)[: 500 - few]:
            outbox.acked(entry)
        clock.ahead += stored_outbox.REMOVE_AFTER
        until(outbox, lambda: sum(found) == 500 - few, "the deletion")
        for entry in list(outbox._out.values()):
            outbox.acked(entry)
        if flying:
            outbox.put(DOOR, 501, b"{}", late=False)
            flown = drain(outbox, 1)
        clock.ahead += stored_outbox.REMOVE_AFTER
        if flying:
            outbox.step()
            assert outbox.due() > 0.4, "not now: the message in flight would be stored"
            outbox.acked(flown[0])
        until(outbox, lambda: sum(found) == 500, "the rest")


def test_a_disk_that_fails_costs_no_more_than_the_ring(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Time()
    (tmp_path / FILE).mkdir()  # nothing can be opened here
    with opened(tmp_path, clock=clock) as outbox:
        until(outbox, lambda: outbox.account().degraded, "word of it")
        outbox.put(DOOR, 1, b"{}", late=True)
        clock.ahead += 3.0
        outbox.step()
        assert outbox.safe() == []
        (tmp_path / FILE).rmdir()
        clock.ahead += 6.0
        until(outbox, lambda: not outbox.account().degraded, "recovery")
        stored(outbox, 1)
        even(outbox)
    assert "cannot be used" in caplog.text
    with opened(tmp_path) as outbox:
        assert outbox.account().pending == 1


def test_a_disk_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, begun, goes_on, write = Time(), threading.Event(), threading.Event(), Database.write
    with opened(tmp_path, clock=clock) as outbox:

        def hang(database: Database, batch: Batch, uptime: float) -> list[Dropped]:
            begun.set()
            goes_on.wait(DEADLINE)
            return write(database, batch, uptime)

        until(outbox, lambda: outbox.due() > 1.0, "the first commit")
        monkeypatch.setattr(Database, "write", hang)
        outbox.put(DOOR, 1, b"{}", late=True)
        until(outbox, begun.is_set, "a commit under way")
        assert not outbox.account().degraded
        clock.ahead += 11.0
        assert outbox.account().degraded
        goes_on.set()
        stored(outbox, 1)
        assert not outbox.account().degraded


def test_a_corrupt_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 2001):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 2000)
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with opened(tmp_path) as outbox:
        outbox.resume("aaaaaa", (Tally("door", "result", 2001, 2000),))
        assert outbox.put(DOOR, 2001, b"{}", late=True)
        stored(outbox, 2001)
        assert outbox.account().pending == 1
        even(outbox)
    assert (tmp_path / "outbox.sqlite.corrupt").exists()
    assert "is corrupt" in caplog.text


def test_what_is_put_aside_stays_within_the_bound(tmp_path: Path) -> None:
    small = OutboxPlan(max_size=1 << 20)
    (tmp_path / FILE).write_bytes(b"no database" * 100_000)
    with opened(tmp_path, small) as outbox:
        assert (tmp_path / "outbox.sqlite.corrupt").stat().st_size == 1 << 18
        for seq in range(1, 5001):
            outbox.put(DOOR, seq, bytes(300), late=True)
        stored(outbox, 5000)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 20
        assert outbox.account().lost["full"] > 1000
        even(outbox)
        kept = outbox.account().pending
        (tmp_path / "outbox.sqlite.corrupt").unlink()
        for seq in range(5001, 9001):
            outbox.put(DOOR, seq, bytes(300), late=True)
        stored(outbox, 9000)
        assert outbox.account().pending > kept, "its room is free again"


def test_a_file_that_breaks_while_it_is_used_costs_what_was_only_there(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 6001):
            outbox.put(DOOR, seq, b"x" * 300, late=True)
            if seq % 2000 == 0:
                stored(outbox, seq)
        size = (tmp_path / FILE).stat().st_size
        with (tmp_path / FILE).open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        delivered = 0

        def drained() -> bool:
            nonlocal delivered
            while entry := outbox.next(()):
                outbox.acked(entry)
                delivered += 1
            return outbox.account().pending == 0

        until(outbox, drained, "an empty outbox")
        account = outbox.account()
        assert account.delivered == delivered
        assert account.lost == {"corrupt": 6000 - delivered}
        outbox.put(DOOR, 6001, b"{}", late=True)
        stored(outbox, 6001)
        assert not outbox.account().degraded
        even(outbox)


def test_a_file_that_breaks_under_a_commit_is_written_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 501):
            outbox.put(DOOR, seq, b"x" * 300, late=True)
        stored(outbox, 500)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        (page,) = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry_by_place'").fetchone()
    with (tmp_path / FILE).open("r+b") as raw:
        raw.seek(4096 * (page - 1))
        raw.write(b"\xa5" * 16)
    with opened(tmp_path) as outbox:
        for seq in range(501, 1001):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 1000)
        even(outbox)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE series SET upto = 'x'",
        "UPDATE series SET waiting = -1",
        "UPDATE series SET pipeline = x'ff'",
        "UPDATE series SET id = 77; UPDATE entry SET series = 78",
        "UPDATE loss SET count = 'x'",
        "UPDATE clock SET at = x'00'",
        "UPDATE entry SET payload = 'text'",
        "UPDATE entry SET taken = 'then'",
        "UPDATE entry SET seq = 'x'",
        "UPDATE clock SET at = 9e999, kernel = 'earlier'",
        "UPDATE clock SET ahead = -9e999",
        "UPDATE entry SET taken = 9e999",
        f"UPDATE entry SET number = {2**63 - 1} WHERE seq = 1",
        f"UPDATE series SET id = {2**63 - 1}; UPDATE entry SET series = {2**63 - 1}",
        f"UPDATE place SET id = {2**63 - 1}; UPDATE entry SET place = {2**63 - 1}",
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = sql || ' NU' || x'cc' WHERE name = 'loss'",
    ],
)
def test_a_bit_that_turned_over_is_a_corrupt_file(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 11):
            outbox.put(DOOR, seq, b"{}", late=True)
        outbox.lose(DOOR, 11, "rejected")
        stored(outbox, 11)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript(damage)
    with opened(tmp_path) as outbox:
        outbox.put(YARD, 1, b"{}", late=False)
        until(outbox, (tmp_path / f"{FILE}.corrupt").exists, "the file put aside")
        stored(outbox, 1, YARD)
        while entry := outbox.next(()):
            outbox.acked(entry)
        assert outbox.account().pending == 0
        even(outbox)


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO entry VALUES (1000, 1, 99, 1, -1e9, x'7b7d')",
        "UPDATE entry SET series = 'x', taken = -1e9",
        "UPDATE entry SET series = 1.5, taken = -1e9",
        "UPDATE entry SET taken = x'00'",
    ],
)
def test_a_bad_row_that_is_too_old_does_not_end_the_thread(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript(damage)
    worker = DatabaseWorker(tmp_path, Limits(1 << 20, 3600.0), "kernel", lambda: 1e6)
    found: list[object] = []
    try:
        worker.order(Open({}))
        worker.order(Batch())
        eventually(lambda: found.extend(worker.outcomes()) or len(found) == 2, "two outcomes")
    finally:
        worker.close(10.0)
    assert found[1] == DatabaseOpened([], emptied=True, unwritten=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 has no limits before Python 3.11")
@pytest.mark.parametrize(
    "huge",
    [
        "UPDATE entry SET payload = zeroblob(1000000) WHERE seq = 5",
        "UPDATE place SET pipeline = CAST(zeroblob(1000000) AS TEXT)",
    ],
)
def test_a_value_that_no_message_has_is_a_corrupt_file(tmp_path: Path, huge: str) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 11):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 10)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript(huge)
    with opened(tmp_path) as outbox:
        outbox.put(YARD, 1, b"{}", late=False)
        until(outbox, (tmp_path / f"{FILE}.corrupt").exists, "the file put aside")
        even(outbox)


def test_more_places_than_a_program_makes_are_a_corrupt_file(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as file:
        rows = (("result", str(number)) for number in range(MAX_SERIES + 1))
        file.execute("BEGIN")
        file.executemany("INSERT INTO place (kind, pipeline) VALUES (?, ?)", rows)
        file.execute("COMMIT")
    with opened(tmp_path) as outbox:
        until(outbox, (tmp_path / f"{FILE}.corrupt").exists, "the file put aside")


def test_a_file_put_aside_by_somebody_else_is_cut(tmp_path: Path) -> None:
    with (tmp_path / f"{FILE}.corrupt").open("wb") as file:
        file.truncate(1 << 30)
    with opened(tmp_path, OutboxPlan(max_size=1 << 20)) as outbox:
        assert (tmp_path / f"{FILE}.corrupt").stat().st_size == 1 << 18
        even(outbox)


def test_without_its_file_the_numbers_of_a_running_engine_are_unknown(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.resume("aaaaaa", (Tally("door", "result", 50, 40),))
        told = outbox.account()
        assert (told.delivered, told.lost) == (0, {"unknown": 40})
        even(outbox)


def test_files_of_other_versions_keep_the_backlog(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as later:
        for table in ("series", "entry", "place", "loss"):
            later.execute(f"ALTER TABLE {table} ADD COLUMN further TEXT NOT NULL DEFAULT 'x'")
        later.execute("CREATE TABLE more (id INTEGER PRIMARY KEY)")
        later.execute("PRAGMA user_version = 7")
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 2, b"{}", late=True)
        outbox.lose(DOOR, 3, "rejected")
        stored(outbox, 3)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as later:
        assert later.execute("PRAGMA user_version").fetchone() == (7,)
        assert later.execute("SELECT seq, further FROM entry ORDER BY number").fetchall() == [(1, "x"), (2, "x")]
        later.execute("DROP TABLE clock")  # as if an earlier version had no such table
        later.execute("PRAGMA user_version = 0")
    with opened(tmp_path) as outbox:
        assert outbox.account().lost == {"rejected": 1}
        assert [entry.seq for entry in drain(outbox, 2)] == [1, 2]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, empty."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_burst_faster_than_the_disk_is_not_lost(tmp_path: Path) -> None:
    outbox = StoredOutbox(limit=100_000)
    outbox.use(tmp_path, PLAN, "kernel")
    with outbox:
        until(outbox, lambda: outbox.ready, "an open file")
        for seq in range(1, 601):  # the disk gets no turn to write
            outbox.put(DOOR, seq, b"x" * 300, late=True)
        assert outbox.account().lost == {}
        stored(outbox, 600)
        assert [entry.seq for entry in drain(outbox, 600)] == list(range(1, 601))


def overfill(outbox: StoredOutbox, disk: Path) -> None:
    """Stores 500 results, fills the disk, and puts in 1,500 more, which it does not take."""
    for seq in range(1, 501):
        outbox.put(DOOR, seq, b"x" * 300, late=True)
    stored(outbox, 500)
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 512)
    for seq in range(501, 2001):
        outbox.put(DOOR, seq, b"x" * 300, late=True)
    until(outbox, lambda: outbox.account().degraded, "word of it")


def test_a_disk_that_is_full(disk: Path) -> None:
    clock = Time()
    with opened(disk, clock=clock) as outbox:
        overfill(outbox, disk)
        assert outbox.account().pending == 2000
        even(outbox)
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        clock.ahead += 6.0
        until(outbox, lambda: not outbox.account().degraded, "recovery")
        stored(outbox, 2000)
        assert [entry.seq for entry in drain(outbox, 2000)] == list(range(1, 2001))


def test_a_disk_that_is_full_at_the_end_has_room_for_the_account(disk: Path) -> None:
    with opened(disk) as outbox:
        overfill(outbox, disk)
        for entry in drain(outbox, 100)[:100]:
            outbox.acked(entry)
    (disk / "filler").unlink()
    with opened(disk) as outbox:
        assert outbox.account().delivered == 100
        assert outbox.account().lost == {"full": 1500}
        assert outbox.account().pending == 400
        even(outbox)


def test_what_a_slow_disk_is_writing_at_the_end_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_outbox, "CLOSE_WITHIN", 0.0)
    with opened(tmp_path) as outbox:
        for seq in range(1, 11):
            outbox.put(DOOR, seq, b"{}", late=True)
        disk = outbox._disk
        assert disk is not None
    disk._thread.join(20)
    with opened(tmp_path) as outbox:
        assert (outbox.account().pending, outbox.account().lost) == (10, {})
        even(outbox)


def test_a_disk_that_is_read_only_at_the_start(disk: Path) -> None:
    """What it holds is found when it can be written again, and fits in with what came meanwhile."""
    clock = Time()
    with opened(disk) as outbox:
        for seq in range(1, 11):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 10)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with opened(disk, clock=clock) as outbox:
        assert outbox.account().degraded
        outbox.resume("aaaaaa", (Tally("door", "result", 12, 8),))
        for seq in range(9, 13):
            assert outbox.put(DOOR, seq, b"{}", late=True)
        even(outbox)
        for entry in drain(outbox, 4)[:2]:
            outbox.acked(entry)
        outbox.rewind()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        clock.ahead += 6.0
        until(outbox, lambda: not outbox.account().degraded, "recovery")
        stored(outbox, 12)
        even(outbox)
        assert [entry.seq for entry in drain(outbox, 10)] == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    with opened(disk) as outbox:
        assert (outbox.account().pending, outbox.account().delivered) == (10, 2)


FAILING = """
import sys, time
from pathlib import Path
from edge_infer.plan.records import OutboxPlan
from edge_infer.publisher.outbox import stored_outbox as stored
from edge_infer.publisher.outbox.entry import MessageSeries as Series
stored.OPEN_AGAIN = 0.2
series, states = Series("door", "aaaaaa", "result"), []
with stored.StoredOutbox() as outbox:
    outbox.use(Path(sys.argv[1]), OutboxPlan(), "kernel")
    while not outbox.ready:
        outbox.step()
    for seq in range(1, 101):
        outbox.step()
        outbox.put(series, seq, b"{}", late=True)
        time.sleep(0.05)
        if outbox.account().degraded not in states[-1:]:
            states.append(outbox.account().degraded)
print(states)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_disk_that_answers_with_errors(tmp_path: Path) -> None:
    fault = "inject=fdatasync:error=EIO:when=8..12"
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", fault, sys.executable, "-c", FAILING]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[False, True, False]"
    assert "disk I/O error" in done.stderr
    with opened(tmp_path) as outbox:
        (last,) = (found.highest for found in outbox._account.tracks().values())
        assert [entry.seq for entry in drain(outbox, outbox.account().pending)] == list(range(1, last + 1))
        assert last == 100


STOPPING = """
import sys
from pathlib import Path
from edge_infer.plan.records import OutboxPlan
from edge_infer.publisher.outbox.entry import MessageSeries as Series
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
with StoredOutbox() as outbox:
    outbox.use(Path(sys.argv[1]), OutboxPlan(), "kernel")
    while not outbox.ready:
        outbox.step()
    for seq in range(1, 101):
        outbox.put(Series("door", "aaaaaa", "result"), seq, b"{}", late=True)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_stop_waits_for_a_card_that_takes_half_a_second_for_each_sync(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass  # a new file needs some more
    slow = "inject=fdatasync:delay_exit=500000"
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", slow, sys.executable, "-c", STOPPING]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert "not written at shutdown" not in done.stderr
    with opened(tmp_path) as outbox:
        assert (outbox.account().pending, outbox.account().lost) == (100, {})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["put", "live", "next", "ack", "again", "drop", "rewind", "commit", "tell", "crash"])))
def test_the_account_is_even_over_crashes(steps: list[str]) -> None:
    """The publisher alone crashes; the engine says again whatever it was not told to be safe."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder))
        for step in steps:
            getattr(history, step)()
            even(history.outbox)
        history.end()


class PlayedBroker:
    """Acknowledges, refuses and hangs up, and counts on its own what it has got."""

    def __init__(self, outbox: StoredOutbox) -> None:
        self.outbox = outbox
        self._out: list[Entry] = []
        self._got: set[int] = set()

    def ack(self) -> None:
        if self._out:
            entry = self._out.pop(0)
            self._got.add(entry.seq)
            self.outbox.acked(entry)

    def again(self) -> None:
        if self._out:
            self.outbox.again(self._out.pop(0))

    def rewind(self) -> None:
        self.outbox.rewind()
        self._out.clear()


class History(PlayedBroker):
    """Plays the engine as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = Time()
        super().__init__(opened(folder, clock=self._clock))
        self._given = self._safe = self._lost = 0
        self._dropped: set[int] = set()

    def put(self) -> None:
        for _ in range(5):
            self._given += 1
            assert self.outbox.put(DOOR, self._given, b"%d" % self._given, late=True)

    def live(self) -> None:
        self._given += 1
        assert self.outbox.put(DOOR, self._given, b"%d" % self._given, late=False)

    def next(self) -> None:
        if entry := self.outbox.next(()):
            self._out.append(entry)

    def drop(self) -> None:
        if self._out:
            entry = self._out.pop(0)
            self._dropped.add(entry.seq)
            self.outbox.drop(entry, "rejected")

    def commit(self) -> None:
        self._clock.ahead += 1.0
        self.outbox.step()
        until(self.outbox, lambda: self.outbox._writing is None, "a commit")

    def tell(self) -> None:
        for acked in self.outbox.safe():
            self._safe, self._lost = acked.seq, acked.lost
            self.outbox.told(acked)

    def crash(self) -> None:
        assert self.outbox._disk
        self.outbox._disk.close(5)
        self._out.clear()
        self.outbox = opened(self._folder, clock=self._clock)
        self.outbox.resume("aaaaaa", (Tally("door", "result", self._given, self._safe, self._lost),))
        for seq in range(self._safe + 1, self._given + 1):
            self.outbox.put(DOOR, seq, b"%d" % seq, late=True)

    def end(self) -> None:
        def drained() -> bool:
            while entry := self.outbox.next(()):
                assert int(entry.payload) == entry.seq
                self._got.add(entry.seq)
                self.outbox.acked(entry)
            return self.outbox.account().pending == 0

        self.rewind()
        until(self.outbox, drained, "an empty outbox")
        even(self.outbox)
        assert self._got | self._dropped == set(range(1, self._given + 1))
        self.outbox.close()


class HeldDisk(DatabaseWorker):
    """A disk that carries out an order when the test says so."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: deque[Order] = deque()

    def order(self, order: Order) -> None:
        self.held.append(order)

    def carry_out(self) -> None:
        """Carry out the oldest order; its outcome waits for the outbox."""
        if self.held:
            known = len(self._outcomes)
            super().order(self.held.popleft())
            eventually(lambda: len(self._outcomes) > known, "an outcome")


STEPS = ("live", "live", "late", "next", "next", "ack", "again", "rewind", "disk", "step", "step")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_each_number_has_one_end_whatever_comes_while_the_disk_works(seed: int) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_outbox, "DatabaseWorker", HeldDisk)
        patch.setattr(queues, "LOW", 3)
        patch.setattr(queues.PagedQueue.release, "__defaults__", (4,))
        patch.setattr(database, "CHUNK", 8)
        story = Unsettled(Path(folder))
        for _ in range(dice.randint(20, 250)):
            getattr(story, dice.choice(STEPS))()
            even(story.outbox)
        story.end()


class Unsettled(PlayedBroker):
    """Plays engine and disk as well, in any order."""

    def __init__(self, folder: Path) -> None:
        self._clock = Time()
        super().__init__(StoredOutbox(clock=self._clock))
        self.outbox.use(folder, OutboxPlan(max_size=1 << 18), "kernel")
        self._given = 0
        self.disk()
        self.outbox.step()
        assert self.outbox.ready

    def _put(self, *, late: bool) -> None:
        self._given += 1
        assert self.outbox.put(DOOR, self._given, b"%-4000d" % self._given, late=late)

    def live(self) -> None:
        self._put(late=False)

    def late(self) -> None:
        self._put(late=True)

    def next(self) -> None:
        if entry := self.outbox.next(()):
            assert entry.seq not in self._got, "sent twice"
            assert entry.seq not in {each.seq for each in self._out}, "in flight twice"
            self._out.append(entry)

    def disk(self) -> None:
        assert isinstance(self.outbox._disk, HeldDisk)
        self.outbox._disk.carry_out()

    def step(self) -> None:
        self._clock.ahead += 0.5
        self.outbox.step()

    def end(self) -> None:
        self.rewind()
        for _ in range(1000):
            for step in (self.step, self.disk, self.next, self.next, self.ack, self.ack):
                step()
            if not self.outbox.account().pending:
                break
        account = self.outbox.account()
        assert (account.pending, account.delivered) == (0, len(self._got))
        assert account.delivered + account.lost.get("full", 0) == self._given
        assert account.lost.keys() <= {"full"}
        disk = self.outbox._disk
        assert isinstance(disk, HeldDisk)
        while disk.held:
            disk.carry_out()
            self.outbox.step()
        self.outbox._disk = None
        disk.close(5)


PLANTED = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON clock BEGIN DELETE FROM loss; END",
    "a view": "DROP TABLE loss; CREATE VIEW loss AS SELECT 1 AS series, 'full' AS reason, 1 AS count",
    "a computed column": "ALTER TABLE series ADD COLUMN more AS (length(hex(zeroblob(10 + upto)))) VIRTUAL",
    "a check": "ALTER TABLE entry ADD COLUMN more INTEGER CHECK (length(zeroblob(10)) > 5)",
    "an index of an expression": "CREATE INDEX more ON entry (length(payload) + 1)",
    "a table in capitals": "DROP TABLE loss; CREATE TABLE LOSS (series, reason, count AS (1))",
    "a column that nobody fills": "DROP TABLE place; CREATE TABLE place (\n  id INTEGER PRIMARY KEY, kind TEXT NOT "
    "NULL, pipeline TEXT NOT NULL, more INTEGER NOT NULL, UNIQUE (kind, pipeline))",
    "a column within another": "DROP TABLE entry; CREATE TABLE entry (\n  number INTEGER PRIMARY KEY, place INTEGER "
    "NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,\n  taken REAL NOT NULL, payload BLOB, more TEXT NOT "
    "NULL)",
    "a key that nobody fills": "DROP TABLE clock; CREATE TABLE clock (id INTEGER, more INTEGER PRIMARY KEY CHECK "
    "(id = 1), kernel TEXT NOT NULL, at REAL NOT NULL,\n  ahead REAL NOT NULL); "
    "INSERT INTO clock VALUES (1, 1, 'kernel', 0, 0)",
    "no constraint": "DROP TABLE place; CREATE TABLE place (id INTEGER PRIMARY KEY, kind TEXT, pipeline TEXT)",
    "no reason": "INSERT INTO loss (series, reason, count) VALUES (1, 'not a reason! \x1b[31m', 3)",
    "many reasons": "".join(f"INSERT INTO loss VALUES (1, 'reason_{each}', 1);" for each in "abcdefghijklmnopqrst"),
    "a number": f"UPDATE series SET upto = {2**62}",
}


def test_a_plain_column_of_a_later_version_is_no_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        for table, column in (
            ("series", "more TEXT NOT NULL DEFAULT ''"),
            ("loss", "since REAL"),
            ("entry", "n INTEGER"),
            ("place", "title TEXT DEFAULT 'it'"),
            ("clock", "zone INTEGER DEFAULT -1"),
        ):
            file.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    with opened(tmp_path) as outbox:
        assert [entry.seq for entry in drain(outbox, 1)] == [1]


@pytest.mark.parametrize("what", PLANTED)
def test_what_somebody_has_planted_in_the_file_is_put_aside(tmp_path: Path, what: str) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript(PLANTED[what])
    with opened(tmp_path) as outbox:
        assert outbox.account().lost == {}
        outbox.put(YARD, 1, b"{}", late=True)
        stored(outbox, 1, YARD)
        assert [entry.series for entry in drain(outbox, 1)] == [YARD]


def test_an_index_that_refuses_the_rows_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.executescript("""
            CREATE TABLE other (kind, pipeline, UNIQUE (kind, pipeline)); INSERT INTO other VALUES ('result', 'yard');
            PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master
            WHERE name = 'sqlite_autoindex_other_1') WHERE name = 'sqlite_autoindex_place_1'""")
    with opened(tmp_path) as outbox:
        outbox.put(YARD, 1, b"{}", late=True)
        stored(outbox, 1, YARD)
    assert (tmp_path / f"{FILE}.corrupt").exists()
