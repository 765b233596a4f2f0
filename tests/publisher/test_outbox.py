"""The outbox keeps order and account; whatever happens, produced = delivered + pending + lost."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import decode, encode
from edge_infer.contract.messages import OutboxHealth
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.ipc.delivered_numbers import DeliveredNumbers, new_delivered_numbers
from edge_infer.ipc.messages import Acked, EngineHello, Tally
from edge_infer.publisher.outbox.database import MAX_COUNT, SeriesRow
from edge_infer.publisher.outbox.delivery_ledger import MOST_SERIES, DeliveryLedger
from edge_infer.publisher.outbox.entry import OVERHEAD, Entry, MessageSeries
from edge_infer.publisher.outbox.saved_account import followed_by
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox

DOOR, EVENTS, YARD = (
    MessageSeries("door", "aaaaaa", "result"),
    MessageSeries("door", "aaaaaa", "event"),
    MessageSeries("yard", "aaaaaa", "result"),
)


def filled(*numbered: tuple[MessageSeries, int]) -> StoredOutbox:
    outbox = StoredOutbox()
    for series, seq in numbered:
        assert outbox.put(series, seq, b"{}", late=False)
    return outbox


def drain(outbox: StoredOutbox, *held: Place) -> list[Entry]:
    found = []
    while entry := outbox.next(held):
        found.append(entry)
    return found


def test_events_go_first_and_each_lane_in_order() -> None:
    outbox = filled((DOOR, 1), (EVENTS, 1), (YARD, 1), (DOOR, 2), (EVENTS, 2))
    order = [(entry.series.pipeline, entry.series.kind, entry.seq) for entry in drain(outbox)]
    assert order == [
        ("door", "event", 1), ("door", "event", 2), ("door", "result", 1), ("yard", "result", 1), ("door", "result", 2),
    ]  # fmt: skip


def test_numbers_that_the_engine_had_not_given_were_not_delivered_before() -> None:
    """A compromised publisher may leave numbers to come in the ring; its successor sends those messages."""
    ring = new_delivered_numbers()
    with DeliveredNumbers(os.dup(ring)) as compromised:
        for number in range(1, 100):
            compromised.add(DOOR, number)
    outbox = StoredOutbox(delivered=DeliveredNumbers(ring))
    outbox.resume("aaaaaa", (Tally("door", "result", given=3, safe=1),))
    for seq in range(2, 8):
        assert outbox.put(DOOR, seq, b"{}", late=False)
    assert [entry.seq for entry in drain(outbox)] == [4, 5, 6, 7]


def test_a_held_place_does_not_hold_the_others() -> None:
    outbox = filled((DOOR, 1), (YARD, 1), (DOOR, 2))
    assert [entry.series for entry in drain(outbox, Place("result", "door"))] == [YARD]
    assert [entry.seq for entry in drain(outbox)] == [1, 2]


def test_what_comes_back_is_late_and_in_its_place() -> None:
    outbox = filled((DOOR, 1), (DOOR, 2), (DOOR, 3))
    first, second = outbox.next(()), outbox.next(())
    assert first
    assert second
    outbox.acked(first)
    outbox.rewind()
    assert [(entry.seq, entry.late) for entry in drain(outbox)] == [(2, True), (3, True)]


def test_the_bytes_that_wait_are_never_negative() -> None:
    """Of a message that is missing on the disk only the average size is known."""
    ledger = DeliveryLedger()
    for seq, size in ((1, 10), (2, 1000)):
        ledger.take(DOOR, seq, size, "handover")
        ledger.stored(DOOR, seq)
    ledger.lose_some(DOOR.place, 1, ())
    ledger.delivered(DOOR, 2, 1000)
    assert ledger.sums() == (2, 0, 0, 1, {"corrupt": 1})
    assert [row.bytes for row in ledger.changes()[0]] == [0]


def test_what_a_process_without_the_file_left_out_is_what_the_file_has() -> None:
    """It began after a power cut with the end of an event, and could not open the file before it stopped."""
    file, later = SeriesRow(DOOR, 80, 5, 500, False), SeriesRow(DOOR, 229, 0, 0, True, {"left_out": 228, "full": 1})
    ledger = DeliveryLedger()
    ledger.restore([replace(followed_by(file, later), waiting=5, bytes=500)])
    assert ledger.sums() == (81, 5, 500, 75, {"full": 1})


def test_safe_is_what_is_settled_without_a_gap() -> None:
    outbox = filled((DOOR, 1), (DOOR, 2), (DOOR, 3))
    entries = drain(outbox)
    outbox.acked(entries[2])
    assert outbox.safe() == []
    outbox.acked(entries[0])
    assert outbox.safe() == [Acked("door", "aaaaaa", "result", 1)]
    outbox.told(outbox.safe()[0])
    assert outbox.safe() == []
    outbox.drop(entries[1], "rejected")
    assert outbox.safe() == [Acked("door", "aaaaaa", "result", 3, lost=1)]


def test_a_new_publisher_counts_from_what_the_engine_says_is_safe() -> None:
    outbox = StoredOutbox()
    outbox.resume("aaaaaa", (Tally("door", "result", 9, 7),))
    assert not outbox.put(DOOR, 7, b"{}", late=False)
    assert outbox.put(DOOR, 10, b"{}", late=False)
    assert outbox.account().lost == {"handover": 2}
    outbox.put(MessageSeries("door", "bbbbbb", "result"), 2, b"{}", late=False)
    assert outbox.account().lost == {"handover": 3}


def test_engines_without_end_take_no_memory_without_end() -> None:
    outbox = StoredOutbox()
    outbox.put(DOOR, 1, b"{}", late=False)
    for number in range(3 * MOST_SERIES):
        boot = f"{number:06x}"
        outbox.lose(MessageSeries("door", boot, "result"), 1, "rejected")
        outbox.ended(boot, ())
    assert len(outbox.safe()) <= MOST_SERIES
    assert not outbox.put(DOOR, 1, b"{}", late=False), "what waits is not forgotten"
    assert outbox.account().lost == {"rejected": 3 * MOST_SERIES}


def test_the_numbers_of_a_running_engine_are_not_forgotten() -> None:
    """The engine could use them again, and hide data in them."""
    outbox = StoredOutbox()
    for number in range(2 * MOST_SERIES):
        outbox.lose(MessageSeries(f"p{number}", DOOR.boot, "result"), 7, "rejected")
    assert not any(
        outbox.put(MessageSeries(f"p{number}", DOOR.boot, "result"), 7, b"{}", late=False)
        for number in range(2 * MOST_SERIES)
    )


def test_ended_engines_that_are_reported_again_count_once() -> None:
    """The supervisor reports the last ones again to each new publisher."""
    outbox, ends = StoredOutbox(), 17
    tallies = tuple(Tally(f"p{number}", "result", 1, 1) for number in range(100))
    for _ in range(2):
        for number in range(ends):
            outbox.ended(f"{number:06x}", tallies)
    account = outbox.account()
    assert (account.produced, account.delivered) == (ends * 100, ends * 100)


def test_a_greeting_has_not_more_tallies_than_a_message_may_have() -> None:
    with pytest.raises(WireError, match="length <= 512"):
        decode(EngineHello, encode(EngineHello("aaaaaa", tuple(Tally(f"p{n}", "result", 1) for n in range(600)))))


def test_numbers_that_leap_leave_an_account_that_can_be_told() -> None:
    outbox = StoredOutbox()
    for boot in ("aaaaaa", "bbbbbb"):
        outbox.put(MessageSeries("door", boot, "result"), 2**53, b"{}", late=False)
    assert decode(OutboxHealth, encode(outbox.account())).lost == {"handover": 2**53}


@pytest.mark.parametrize("begun", [True, False])
def test_numbers_that_leap_twice_leave_counts_that_the_file_accepts(begun: bool) -> None:
    ledger = DeliveryLedger()
    if begun:
        ledger.take(DOOR, 2**53, 1, "handover")
    ledger.restore([SeriesRow(DOOR, 2**53, 0, 0, closed=False, lost={"handover": 2**53, "unknown": 2**53})])
    ledger.lose(DOOR, 2**53, "rejected", "handover")
    ledger.everything_changed()
    (row,), _ = ledger.changes()
    assert max(row.upto, *row.lost.values()) <= MAX_COUNT


def test_the_oldest_give_way_and_are_counted() -> None:
    outbox = StoredOutbox(limit=10 * (OVERHEAD + 2))
    for seq in range(1, 26):
        outbox.put(DOOR, seq, b"{}", late=False)
    account = outbox.account()
    assert (account.pending, account.lost) == (10, {"full": 15})
    assert [entry.seq for entry in drain(outbox)] == list(range(16, 26))
    assert outbox.safe() == [Acked("door", "aaaaaa", "result", 15, lost=15)]


def test_one_in_flight_gives_way_last_because_it_may_arrive() -> None:
    outbox = StoredOutbox(limit=10 * (OVERHEAD + 2))
    for seq in range(1, 11):
        outbox.put(DOOR, seq, b"{}", late=False)
    flying = [outbox.next(()) for _ in range(3)]
    for seq in range(11, 26):
        outbox.put(DOOR, seq, b"{}", late=False)
    assert (outbox.account().pending, outbox.account().lost) == (10, {"full": 15})
    for entry in filter(None, flying):
        outbox.acked(entry)
    assert outbox.account().delivered == 3
    assert [entry.seq for entry in drain(outbox)] == list(range(19, 26))


@given(
    st.lists(
        st.sampled_from(["put", "skip", "leave out", "repeat", "next", "ack", "again", "drop", "lose", "rewind"]),
        max_size=200,
    )
)
def test_the_account_is_even_over_any_history(steps: list[str]) -> None:
    outbox, seq, out, left_out = StoredOutbox(limit=20 * (OVERHEAD + 2)), 0, [], 0
    for step in steps:
        if step == "put":
            seq += 1
            assert outbox.put(DOOR, seq, b"{}", late=False)
        elif step == "skip":
            seq += 2
            outbox.put(DOOR, seq, b"{}", late=False)
        elif step == "leave out":
            outbox.leave_out(DOOR, seq + 6)
            outbox.leave_out(DOOR, seq + 6)
            left_out += 5
            seq += 5
        elif step == "repeat" and seq:
            assert not outbox.put(DOOR, seq, b"{}", late=False)
        elif step == "lose":
            seq += 1
            outbox.lose(DOOR, seq, "rejected")
        elif step == "next" and (entry := outbox.next(())):
            out.append(entry)
        elif step == "rewind":
            outbox.rewind()
            out.clear()
        elif out:
            entry = out.pop(0)
            {"ack": outbox.acked, "again": outbox.again, "drop": lambda e: outbox.drop(e, "rejected")}.get(
                step, out.append
            )(entry)
        account = outbox.account()
        assert account.delivered + account.pending + sum(account.lost.values()) == account.produced == seq - left_out
        assert account.pending == len(outbox)
        assert account.bytes == account.pending * (OVERHEAD + 2)
    left = drain(outbox)
    for late in (True, False):
        seqs = [entry.seq for entry in left if entry.late == late]
        assert seqs == sorted(seqs)
