"""The disk of the outbox as a power cut leaves it at any moment, opened again."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from edge_infer.publisher.outbox.database import FILE, Database, Limits
from edge_infer.publisher.outbox.entry import Entry
from tests.faults.figure import Figure
from tests.faults.outbox_work import SERIES, payload
from tests.faults.powercut import cut, record


def power_cuts(folder: Path, count: int) -> list[Figure]:
    """The disk as a cut leaves it at any moment of a program's life, opened again."""
    folder.mkdir(parents=True, exist_ok=True)
    program = (
        "import sys; from pathlib import Path; from tests.faults.outbox_work import work; "
        "work(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    (folder / "recorded").mkdir()
    steps = record(program, folder / "recorded", str(max(20, min(300, count // 2))))
    chance = random.Random(11)
    corrupt = lost = more = 0
    for _ in range(count):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            said = cut(steps, chance.randrange(len(steps)), Path(place), chance)
            try:
                missing, further = _after_cut(Path(place), said)
            except sqlite3.Error:
                corrupt += 1
                continue
            lost += missing
            more = max(more, further)
    return [
        Figure("power cuts that left a corrupt file", corrupt, 0, note=f"{count} cuts over {len(steps)} calls"),
        Figure("committed messages that a power cut took", lost, 0),
        Figure("commits of which a cut kept more than was promised", more, 1, note="the one under way"),
    ]


def _after_cut(place: Path, said: list[bytes]) -> tuple[int, int]:
    """Committed messages that are not there, and how many commits the file is ahead of what was said."""
    database = Database(place / FILE, Limits(64 << 20, 1e9), "kernel", 0.0)
    try:
        if database._one("PRAGMA integrity_check") != ("ok",):
            raise sqlite3.DatabaseError("the check of the file fails")
        kept = {entry.seq: entry for entry in _everything(database)}
        rows = {row.series: row for row in database.contents({})}
    finally:
        database.close()
    if not said:
        return 0, 0
    number, first, last = map(int, said[-1].split())
    row = rows.get(SERIES)
    if row is None:
        return last - first + 1, 0
    further = row.lost.get("old", 0) - number
    wanted = range(first, last + 1) if not further else range(min(kept, default=last + 1), last + 1)
    wrong = sum(seq not in kept or kept[seq].payload != payload(seq) for seq in wanted)
    return wrong + (len(kept) != row.waiting) + (further < 0), further


def _everything(database: Database) -> Iterator[Entry]:
    after: int | None = None
    while rows := database.load(SERIES.place, after, 1 << 40):
        yield from rows
        after = rows[-1].number


def age_of_loss(folder: Path, seconds: int, count: int) -> list[Figure]:
    """An outbox without a broker takes 30 results a second; how old the oldest is that a cut at any moment takes."""
    folder.mkdir(parents=True, exist_ok=True)
    program = (
        "import sys; from pathlib import Path; from tests.faults.outbox_work import take; "
        "take(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    (folder / "recorded").mkdir()
    steps = record(program, folder / "recorded", str(seconds))
    chance = random.Random(12)
    first = next(number for number, step in enumerate(steps) if step.what == "said")
    ages = []
    for _ in range(count):
        moment = chance.uniform(steps[first].when, steps[-1].when)
        until = bisect_right(steps, moment, lo=first, key=lambda step: step.when)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            said = [line.split() for line in cut(steps, until, Path(place), chance)]
            database = Database(Path(place) / FILE, Limits(64 << 20, 1e9), "kernel", 0.0)
            kept = {entry.seq for entry in _everything(database)}
            database.close()
        taken = [float(when) for seq, when in said if int(seq) not in kept]
        ages.append(moment - min(taken, default=moment))
    ages.sort()
    note = f"{count} cuts in {seconds} s at 30 results/s, median {ages[len(ages) // 2]:.2f}"
    return [Figure("seconds of results that a power cut takes, worst", ages[-1], 1.0, note=note)]
