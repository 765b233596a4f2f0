"""What `tests.faults.powercut` records: the file of the outbox, written as the daemon does, commit by commit."""

from __future__ import annotations

import random
import select
import sys
import time
from pathlib import Path

from edge_infer.plan.records import OutboxPlan
from edge_infer.publisher.outbox.database import FILE, Batch, Database, Limits, SeriesRow
from edge_infer.publisher.outbox.entry import OVERHEAD, Entry, MessageSeries
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox

SERIES = MessageSeries("door", "aaaaaa", "result")


def payload(seq: int) -> bytes:
    """Of a length that the number tells."""
    return b"%d " % seq + b"x" * (250 + seq * 37 % 300)


def work(folder: Path, commits: int) -> None:
    """Batches of new messages, and of those that the broker took; says what is committed after each commit."""
    chance = random.Random(7)
    database = Database(folder / FILE, Limits(64 << 20, 1e9), "kernel", 0.0)
    waiting: list[int] = []
    last = 0
    for number in range(commits):
        fresh = list(range(last + 1, last + 1 + chance.randrange(1, 12)))
        gone = tuple(waiting[: chance.randrange(0, 12)])
        waiting = [*waiting[len(gone) :], *fresh]
        last = fresh[-1]
        entries = tuple(Entry(seq, SERIES, seq, payload(seq), late=True) for seq in fresh)
        size = sum(len(payload(seq)) + OVERHEAD for seq in waiting)
        row = SeriesRow(SERIES, last, len(waiting), size, closed=False, lost={"old": number})
        database.write(Batch(entries, gone, (row,)), float(number))
        sys.stdout.write(f"{number} {waiting[0]} {last}\n")
        sys.stdout.flush()


def take(folder: Path, seconds: int) -> None:
    """An outbox takes 30 messages a second that nobody fetches; says each with the time of day, once it has it."""
    with StoredOutbox() as outbox:
        outbox.use(folder, OutboxPlan())
        began = time.monotonic()
        for seq in range(1, 30 * seconds):
            while (left := began + seq / 30 - time.monotonic()) > 0:
                select.select(outbox.files(), [], [], min(left, outbox.due()))
                outbox.step()
            sys.stdout.write(f"{seq} {time.time():.6f}\n")
            sys.stdout.flush()
            outbox.put(SERIES, seq, payload(seq), late=True)
            outbox.step()


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
