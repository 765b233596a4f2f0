"""An outbox of somebody else costs a bounded number of steps and bytes, and a good one stays far below."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_infer.publisher.outbox import database
from edge_infer.publisher.outbox.database import FILE, Batch, CorruptError, Database, Limits, SeriesRow
from edge_infer.publisher.outbox.database_worker import DatabaseOpened, DatabaseWorker, Open
from edge_infer.publisher.outbox.entry import Entry, MessageSeries
from tests.broker import eventually

DOOR = MessageSeries("door", "aaaaaa", "result")
EVENTS = MessageSeries("door", "aaaaaa", "event")
ROWS = 20


def opened(folder: Path) -> Database:
    return Database(folder / FILE, Limits(64 << 20, 1e9), "kernel", 1.0)


def filled(folder: Path) -> Path:
    """A good file with some messages."""
    entries = tuple(Entry(number, DOOR, number, b"{}", late=True) for number in range(1, ROWS + 1))
    series = SeriesRow(DOOR, ROWS, ROWS, sum(entry.size for entry in entries), closed=False)
    with closing(opened(folder)) as file:
        file.write(Batch(entries, series=(series, SeriesRow(EVENTS, 0, 0, 0, closed=False))), 1.0)
    return folder / FILE


def many_indexes(path: Path) -> None:
    """Each one with a first page of its own, as SQLite expects it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript("PRAGMA page_size = 512; CREATE TABLE more (a); CREATE TABLE room (b); BEGIN")
        file.executemany("INSERT INTO room VALUES (zeroblob(450))", [()] * 600)
        file.execute("PRAGMA writable_schema = ON")
        rows = ((f"i{number}", number + 50, f"CREATE INDEX i{number} ON more (a)") for number in range(500))
        file.executemany("INSERT INTO sqlite_master VALUES ('index', ?, 'more', ?, ?)", rows)
        file.execute("COMMIT")


def plant(path: Path, *statements: str) -> None:
    """Write tables into the layout of the file, without the checks of SQLite."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript("CREATE TABLE more (a); PRAGMA writable_schema = ON; BEGIN")
        rows = ((f"more{number}", f"more{number}", text) for number, text in enumerate(statements))
        file.executemany(
            "INSERT INTO sqlite_master SELECT 'table', ?, ?, rootpage, ? FROM sqlite_master WHERE name = 'more'", rows
        )
        file.execute("COMMIT")


def long_expressions(path: Path) -> None:
    plant(path, *(f"CREATE TABLE more{number} (a CHECK (a IN ({'1,' * 30_000}1)))" for number in range(10)))


def many_constraints(path: Path) -> None:
    keys = ", ".join(f"UNIQUE (c{key % 50}, c{key // 50})" for key in range(1000))
    plant(path, f"CREATE TABLE more0 ({', '.join(f'c{column}' for column in range(50))}, {keys})")


def many_tables(path: Path) -> None:
    plant(path, *(f"CREATE TABLE more{number} (a)" for number in range(500)))


PLANTED = (many_indexes, long_expressions, many_constraints, many_tables)


@pytest.mark.parametrize("planted", PLANTED)
def test_a_layout_that_takes_long_or_much_memory_is_a_corrupt_file(
    tmp_path: Path, planted: Callable[[Path], None]
) -> None:
    planted(tmp_path / FILE if planted is many_indexes else filled(tmp_path))
    with pytest.raises(CorruptError):
        opened(tmp_path).close()


def test_it_is_put_aside_once(tmp_path: Path) -> None:
    many_indexes(tmp_path / FILE)
    assert first_outcome(tmp_path) == DatabaseOpened([], emptied=True)
    assert first_outcome(tmp_path) == DatabaseOpened([], emptied=False)
    assert (tmp_path / f"{FILE}.corrupt").exists()


def first_outcome(folder: Path) -> object:
    worker = DatabaseWorker(folder, Limits(1 << 20, 1e9), "kernel", lambda: 1.0)
    found: list[object] = []
    try:
        worker.order(Open({}))
        eventually(lambda: found.extend(worker.outcomes()) or found, "an outcome")
    finally:
        worker.close(10.0)
    return found[0]


def test_tables_of_a_later_version_are_taken(tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled(tmp_path))) as later:
        later.executescript("".join(
            f"CREATE TABLE more{number} (id INTEGER PRIMARY KEY, name TEXT UNIQUE);" for number in range(40)
        ))  # fmt: skip
    with closing(opened(tmp_path)) as file:
        assert [row.waiting for row in file.contents({})] == [ROWS, 0]


def repeat(path: Path, table: str, inner: int, times: int) -> None:
    """Put inner pages above the page of a table, each of which refers many times to the one below."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        (root,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        file.execute("CREATE TABLE more (a)")
        file.executemany("INSERT INTO more VALUES (zeroblob(4000))", [()] * (inner + 2))
        (below,) = file.execute("PRAGMA page_count").fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
    start = size - 5 * times
    cells = [start + 5 * cell for cell in range(times)]
    with path.open("r+b") as raw:
        raw.seek((root - 1) * size)
        leaf = raw.read(size)
        raw.seek((below - 1) * size)
        raw.write(leaf)
        for page in [below - 1 - each for each in range(inner - 1)] + [root]:
            raw.seek((page - 1) * size)
            raw.write(struct.pack(">BHHHBI", 5, 0, times, start, 0, below) + struct.pack(f">{times}H", *cells))
            raw.seek((page - 1) * size + start)
            raw.write(struct.pack(">IB", below, 1) * times)
            below = page


def test_messages_of_shared_pages_end(tmp_path: Path) -> None:
    repeat(filled(tmp_path), "entry", 3, 120)  # 35 million messages
    with closing(opened(tmp_path)) as file, pytest.raises(CorruptError):
        file.contents({DOOR: ROWS})


@pytest.mark.parametrize("table", ["series", "place"])
def test_a_table_with_more_rows_than_its_index_is_a_corrupt_file(tmp_path: Path, table: str) -> None:
    repeat(filled(tmp_path), table, 2, 200)
    with pytest.raises(CorruptError, match="more rows"):
        opened(tmp_path).close()


def test_a_table_of_somebody_else_does_not_fill_the_memory(tmp_path: Path) -> None:
    """SQLite returns the space of an empty file by a copy of all others, in memory."""
    with closing(sqlite3.connect(filled(tmp_path))) as file:
        file.execute("CREATE TABLE more (a)")
        file.executemany("INSERT INTO more VALUES (randomblob(60000))", [()] * 500)
        file.execute("DELETE FROM entry")
        file.commit()
    with closing(opened(tmp_path)) as found, pytest.raises(CorruptError, match="of memory"):
        found.tidy()


def test_a_good_file_takes_far_fewer_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest messages take the most steps a byte, most of all if the next process deletes half of them."""
    with closing(sqlite3.connect(filled(tmp_path))) as file:
        rows = ((number, number % 100) for number in range(ROWS + 1, 200_000))
        file.executemany("INSERT INTO entry VALUES (?, 1, 1, ?, 1.5, x'7b7d')", rows)
        file.commit()
    monkeypatch.setattr(database, "LEAST_STEPS", 0)
    monkeypatch.setattr(database, "STEPS_A_BYTE", database.STEPS_A_BYTE / 4)
    with closing(opened(tmp_path)) as found:
        assert found.contents({DOOR: 50, EVENTS: 50})[0].waiting > 90_000


SHORT = """
import resource
from edge_infer.publisher.outbox.database import _judged
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (8 << 20),) * 2)
print(type(_judged(MemoryError())).__name__)
"""


def test_a_board_without_memory_does_not_make_a_file_corrupt() -> None:
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "MemoryError\n"
    assert isinstance(database._judged(MemoryError()), CorruptError)
