"""The file of the outbox: queued messages and the delivery account, in SQLite. Every call waits for the disk.

This is version 1 of the layout, stored in ``PRAGMA user_version``. Later versions may only add tables, and columns that
have a default. A program that is older than the file thus keeps its backlog, and a newer one adds what is missing
(decision 12).
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from edge_infer.contract.topics import Place
from edge_infer.publisher.outbox.entry import OVERHEAD, Entry, MessageSeries

FILE: Final = "outbox.sqlite"
VERSION: Final = 1
_LAYOUT: Final = """
CREATE TABLE IF NOT EXISTS series (
  id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL,
  upto INTEGER NOT NULL, waiting INTEGER NOT NULL, bytes INTEGER NOT NULL, closed INTEGER NOT NULL,
  UNIQUE (pipeline, boot, kind));
CREATE TABLE IF NOT EXISTS loss (
  series INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (series, reason)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, pipeline TEXT NOT NULL, UNIQUE (kind, pipeline));
CREATE TABLE IF NOT EXISTS entry (
  number INTEGER PRIMARY KEY, place INTEGER NOT NULL, series INTEGER NOT NULL, seq INTEGER NOT NULL,
  taken REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS entry_by_place ON entry (place);
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), kernel TEXT NOT NULL, at REAL NOT NULL,
  ahead REAL NOT NULL);
"""
# Name the columns, and update rows instead of replacing them: a later version may have more columns.
_SAVE: Final = """
INSERT INTO series (id, pipeline, boot, kind, upto, waiting, bytes, closed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET upto = excluded.upto, waiting = excluded.waiting, bytes = excluded.bytes,
  closed = excluded.closed"""
_SAVE_LOSS: Final = """
INSERT INTO loss (series, reason, count) VALUES (?, ?, ?)
ON CONFLICT (series, reason) DO UPDATE SET count = excluded.count"""
PAGE: Final = 4096
WAL_PAGES: Final = 500
FEWEST_WAL_PAGES: Final = 16
"""Pages in the write-ahead log after which SQLite copies them into the file: `WAL_PAGES`, or fewer with a small
limit."""
WAL_ROOM: Final = 4 << 20
"""Bytes of the size limit reserved for the write-ahead log, at most a quarter of the limit."""
CHUNK: Final = 256
"""Number of messages to read at once."""
MOST_DROPPED: Final = 8192
"""Number of messages that one write may drop because of size or age; the next write continues."""
ROOMY: Final = 512
"""Pages above which `tidy` shrinks the file (``VACUUM``) when no message is queued."""
MAX_COUNT: Final = 2**53
"""The highest number that every reader of JSON represents exactly."""
MAX_REASONS: Final = 16
"""Maximum number of loss reasons: more than this program uses, and fewer than a report may have."""
_REASON: Final = re.compile(r"[a-z_]{1,32}")
MAX_SERIES: Final = 16_384
"""Maximum number of series: many more than a ledger keeps. A manipulated outbox may have so many that they fill the
memory."""
MAX_ROWS: Final = {"series": MAX_SERIES, "place": MAX_SERIES, "loss": MAX_SERIES * MAX_REASONS}
"""Maximum rows of the tables that are read as a whole."""
MAX_VALUE_BYTES: Final = 64 << 10
"""Maximum bytes of a value: more than a message may have. Longer values in a manipulated file would fill the memory."""
MAX_STATEMENT_BYTES: Final = 4096
"""Maximum bytes of an SQL statement: more than any of this program or of the layout. In memory, a table takes some 60
times the bytes of its statement."""
MAX_HEAP_BYTES: Final = 16 << 20
"""Maximum memory of SQLite in this process, four times what the densest file takes. A file that needs more is
corrupt."""
LAYOUT_STEPS: Final = 1000
"""Maximum steps of SQLite's virtual machine for reading the layout, which takes some 7 for each table and index."""
STEPS: Final = 100_000
"""Steps from one call of the progress handler to the next."""
LEAST_STEPS: Final = 100_000_000
STEPS_A_BYTE: Final = 4
"""Maximum steps of an order, or for one resent series: `LEAST_STEPS`, and `STEPS_A_BYTE` for each byte of the file. A
dense file takes 0.4 steps a byte."""
_COLUMNS: Final = re.compile(
    r"(, ?[a-z_]+ (INTEGER|TEXT|REAL|BLOB)( NOT NULL(?= DEFAULT (-?\d|')))?( DEFAULT (-?\d{1,18}|'[^']{0,64}'|NULL))?)*"
)
_AFTER_COLUMNS: Final = re.compile(r"(,\s+(UNIQUE|PRIMARY KEY) \([a-z, ]+\))?\)( WITHOUT ROWID)?$")
"""The end of a statement of the layout: SQLite puts the columns of a later version before it."""
_BROKEN: Final = ("malformed", "not a database", "corrupt", "too big", "interrupted")
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)


class CorruptError(sqlite3.DatabaseError):
    """The file is not a database, or its contents are inconsistent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum bytes on the disk, and maximum seconds that a message waits."""

    max_size: int
    max_age: float


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The account of one series: every number up to ``upto`` is delivered, lost, or one of those ``waiting``."""

    series: MessageSeries
    upto: int
    waiting: int
    bytes: int
    closed: bool
    lost: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one commit, with the delivery account after the commit."""

    entries: tuple[Entry, ...] = ()
    gone: tuple[int, ...] = ()
    series: tuple[SeriesRow, ...] = ()
    forgotten: tuple[MessageSeries, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that a write has dropped, with the reason ``full`` or ``old``."""

    number: int
    series: MessageSeries
    size: int
    reason: str


class Database:
    """One open file, used by one thread and locked against other processes. Raises sqlite3.Error, `CorruptError`.

    This process numbers the entries: its own from 1, and those that were in the file before from 0 downwards.
    """

    def __init__(self, path: Path, limits: Limits, kernel: str, uptime: float, base: int | None = None) -> None:
        self.limits = limits
        self.at = 0.0
        """Time of the last commit, by the clock of the file; 0 for none."""
        self._log = path.with_name(path.name + "-wal")
        self._kernel = kernel
        self._series: dict[MessageSeries, int] = {}
        self._names: dict[int, MessageSeries] = {}
        self._places: dict[Place, int] = {}
        self._connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, cached_statements=64)
        if sys.version_info >= (3, 11):
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT_BYTES)
        try:
            self._prepare()
            self._ahead = self._clock(kernel, uptime)
            (highest,) = self._one("SELECT coalesce(max(number), 0) FROM entry")
            _sound((highest,), int)
            self.base: int = highest if base is None else base
            self._learn_names()
        except _ERRORS as error:
            self.close()
            raise _judged(error) from error

    def _prepare(self) -> None:
        run = self._connection.execute
        run(f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}")  # of this process, for good; SQLite 3.31 and later
        # The first statement that needs the layout parses all of it. Each row takes longer than the one before.
        self._connection.set_progress_handler(lambda: True, LAYOUT_STEPS)
        run("PRAGMA locking_mode = EXCLUSIVE")  # no other process, and no shared memory that a full disk invalidates
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")  # NORMAL loses commits in a power cut
        run("PRAGMA temp_store = MEMORY")
        run(f"PRAGMA wal_autocheckpoint = {max(FEWEST_WAL_PAGES, min(WAL_PAGES, self._wal_room() // 2 // PAGE))}")
        run(f"PRAGMA journal_size_limit = {self._wal_room()}")
        # Sync the commits of an earlier connection: a failed fsync may have left them off the disk.
        run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for row in run("SELECT type, name, tbl_name, sql FROM sqlite_master"):
            if not _is_ours(*row):
                raise CorruptError("the file has an unknown layout; its expressions could run forever")
        self._connection.set_progress_handler(self._runs_away, STEPS)
        self._begin_order()
        for table, most in MAX_ROWS.items():
            if self._has_more(table, most):
                raise CorruptError(f"the table {table} has more rows than this program writes")
        (version,) = self._one("PRAGMA user_version")
        run("BEGIN IMMEDIATE")
        for statement in _LAYOUT.split(";\n"):
            run(statement)
        if version < VERSION:
            run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")

    def _begin_order(self) -> None:
        """Allow as many steps as a file of this size may need, for an order or for one series that is sent again.

        The limit is not in seconds, because a board may be slow.
        """
        pages, size = (self._one(f"PRAGMA {key}")[0] for key in ("page_count", "page_size"))
        self._steps = LEAST_STEPS + STEPS_A_BYTE * pages * size

    def _runs_away(self) -> bool:
        """Return whether SQLite has to stop. It calls this after every `STEPS`.

        In a manipulated file, several pages may refer to the same pages, so that a small file has any number of rows.
        """
        self._steps -= STEPS
        return self._steps < 0

    def _has_more(self, table: str, most: int) -> bool:
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            return False
        # A manipulated index may have fewer rows than its table, so count the rows of the table.
        (count,) = self._one(f"SELECT count(*) FROM (SELECT 1 FROM {table} NOT INDEXED LIMIT ?)", most + 1)  # noqa: S608
        return int(count) > most

    def _clock(self, kernel: str, uptime: float) -> float:
        """Return the offset of the file's clock to the uptime. The file's clock stands still while the board is off."""
        row = self._connection.execute("SELECT kernel, at, ahead FROM clock WHERE id = 1").fetchone()
        if row is None:
            return 0.0
        _sound(row, str, float, float)
        self.at = float(row[1])
        return float(row[2]) if row[0] == kernel else float(row[1]) - uptime

    def _learn_names(self) -> None:
        run = self._connection.execute
        for number, pipeline, boot, kind in run("SELECT id, pipeline, boot, kind FROM series NOT INDEXED"):
            _sound((number, pipeline, boot, kind), int, str, str, str)
            self._name(number, MessageSeries(pipeline, boot, kind))
        for number, kind, pipeline in run("SELECT id, kind, pipeline FROM place NOT INDEXED"):
            _sound((number, kind, pipeline), int, str, str)
            self._places[Place(kind, pipeline)] = number

    def _name(self, number: int, series: MessageSeries) -> None:
        self._series[series], self._names[number] = number, series

    def contents(self, above: dict[MessageSeries, int]) -> list[SeriesRow]:
        """Return the account. Delete the messages ``above`` a number of a series: the engine has sent them again."""
        try:
            self._begin_order()
            return self._contents(above)
        except _ERRORS as error:
            raise _judged(error) from error

    def _contents(self, above: dict[MessageSeries, int]) -> list[SeriesRow]:
        if any(series in self._series for series in above):
            self._forget_above(above)
        lost: dict[int, dict[str, int]] = {}
        reasons: set[str] = set()
        for number, reason, count in self._connection.execute("SELECT series, reason, count FROM loss"):
            _sound((reason, count), str, int)
            reasons.add(reason)
            if not _REASON.fullmatch(reason) or len(reasons) > MAX_REASONS:
                raise CorruptError("a loss has a reason that this program does not write")
            lost.setdefault(number, {})[reason] = count
        rows = self._connection.execute("SELECT id, upto, waiting, bytes, closed FROM series NOT INDEXED").fetchall()
        for row in rows:
            _sound(row, int, int, int, int, int)
        if any(row[0] not in self._names for row in rows):
            raise CorruptError("the series are inconsistent")
        return [
            SeriesRow(self._names[number], upto, waiting, size, bool(closed), lost.get(number, {}))
            for number, upto, waiting, size, closed in rows
        ]

    def _forget_above(self, above: dict[MessageSeries, int]) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        for series, seq in above.items():
            self._begin_order()
            if number := self._series.get(series):
                run("DELETE FROM entry WHERE series = ? AND seq > ?", (number, seq))
                select = f"SELECT count(*), total(length(payload) + {OVERHEAD}) FROM entry WHERE series = ?"  # noqa: S608
                count, size = self._one(select, number)
                run("UPDATE series SET waiting = ?, bytes = ? WHERE id = ?", (count, int(size), number))
        run("COMMIT")

    def write(self, batch: Batch, uptime: float) -> list[Dropped]:
        """Commit the batch; drop messages that are too old or exceed the limit, oldest first.

        If it raises, nothing has changed.
        """
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            self._begin_order()
            self._connection.executemany(
                "DELETE FROM entry WHERE number = ?", ((number + self.base,) for number in batch.gone)
            )
            for series in batch.forgotten:
                self._forget(series)
            for row in batch.series:
                self._save(row, whole=True)
            # Free space before it is needed: deleting rows never makes the file smaller.
            dropped = self._expire(uptime) + self._shrink(_room(batch.entries))
            fitting, refused = self._parted(batch.entries)
            dropped += refused
            self._connection.executemany(
                "INSERT OR REPLACE INTO entry (number, place, series, seq, taken, payload) VALUES (?, ?, ?, ?, ?, ?)",
                map(self._row, fitting),
            )
            dropped += self._shrink(0)
            self._commit(uptime, changed=batch != Batch() or bool(dropped))
        except _ERRORS as error:
            with suppress(*_ERRORS):
                run("ROLLBACK")
            raise _judged(error) from error
        self._shorten_log()
        return dropped

    def amend(
        self,
        gone: Iterable[tuple[int, int]],
        forgotten: Iterable[MessageSeries],
        rows: Iterable[SeriesRow],
        uptime: float,
    ) -> None:
        """Commit the account of a process that could not write it into the file; delete the messages ``gone``.

        The file itself has the number of waiting messages. If it raises, nothing has changed.
        """
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            self._begin_order()
            self._connection.executemany("DELETE FROM entry WHERE number BETWEEN ? AND ?", gone)
            for series in forgotten:
                self._forget(series)
            for row in rows:
                self._save(row)
            waiting = f"SELECT count(*), total(length(payload) + {OVERHEAD}), series FROM entry GROUP BY series"  # noqa: S608
            run("UPDATE series SET waiting = 0, bytes = 0")
            self._connection.executemany(
                "UPDATE series SET waiting = ?, bytes = ? WHERE id = ?",
                [(count, int(size), series) for count, size, series in run(waiting)],
            )
            self._commit(uptime)
        except _ERRORS as error:
            with suppress(*_ERRORS):
                run("ROLLBACK")
            raise _judged(error) from error

    def _commit(self, uptime: float, *, changed: bool = True) -> None:
        at = uptime + self._ahead
        if changed:
            values = (self._kernel, at, self._ahead)
            self._connection.execute("INSERT OR REPLACE INTO clock (id, kernel, at, ahead) VALUES (1, ?, ?, ?)", values)
        self._connection.execute("COMMIT")
        self.at = at if changed else self.at

    def _shorten_log(self) -> None:
        """Empty the write-ahead log if a large commit has taken more than its share of a small limit."""
        with suppress(OSError, sqlite3.Error):  # a later commit tries again
            if self._log.stat().st_size > self._wal_room():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def load(self, place: Place, after: int | None, upto: int) -> list[Entry]:
        """Return the next `CHUNK` messages of a place, all marked late.

        They follow the number ``after`` (None: the first) and end with ``upto`` at the latest.
        """
        low = 0 if after is None else after + self.base
        try:
            self._begin_order()
            rows = self._connection.execute(
                "SELECT number, series, seq, taken, payload FROM entry WHERE place = ? AND number > ? AND number <= ? "
                "ORDER BY number LIMIT ?",
                (self._places.get(place, -1), low, upto + self.base, CHUNK),
            ).fetchall()
            for row in rows:
                _sound(row, int, int, int, float, bytes)
            return [
                Entry(number - self.base, self._names[series], seq, payload, late=True, taken=taken - self._ahead)
                for number, series, seq, taken, payload in rows
            ]
        except _ERRORS as error:
            raise _judged(error) from error
        except KeyError as error:
            raise CorruptError("a message belongs to no series") from error

    def tidy(self) -> None:
        """Shrink a file that is larger than `ROOMY` and has no queued message."""
        try:
            self._begin_order()
            (pages,) = self._one("PRAGMA page_count")
            if pages > ROOMY and self._connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except _ERRORS as error:
            raise _judged(error) from error

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._connection.close()

    def _save(self, row: SeriesRow, *, whole: bool = False) -> None:
        """Save a row.

        With ``whole`` the row has all losses: a message that was dropped in flight may have been delivered since.
        """
        number = self._series.get(row.series)
        if number is None:
            (number,) = self._one("SELECT coalesce(max(id), 0) + 1 FROM series")
            self._name(number, row.series)
        values = (number, *row.series, row.upto, row.waiting, row.bytes, int(row.closed))
        self._connection.execute(_SAVE, values)
        if whole:
            self._connection.execute("DELETE FROM loss WHERE series = ?", (number,))
        for reason, count in row.lost.items():
            self._connection.execute(_SAVE_LOSS, (number, reason, count))

    def _forget(self, series: MessageSeries) -> None:
        if number := self._series.pop(series, None):
            del self._names[number]
            for statement in ("DELETE FROM series WHERE id = ?", "DELETE FROM loss WHERE series = ?"):
                self._connection.execute(statement, (number,))

    def _row(self, entry: Entry) -> tuple[int, int, int, int, float, bytes]:
        place = self._places.get(entry.place)
        if place is None:
            cursor = self._connection.execute("INSERT INTO place (kind, pipeline) VALUES (?, ?)", entry.place)
            place = self._places[entry.place] = int(cursor.lastrowid or 0)
        series = self._series[entry.series]
        return entry.number + self.base, place, series, entry.seq, entry.taken + self._ahead, entry.payload

    def _expire(self, uptime: float) -> list[Dropped]:
        before = uptime + self._ahead - self.limits.max_age
        dropped: list[Dropped] = []
        while len(dropped) < MOST_DROPPED:
            oldest = self._oldest(CHUNK)
            old = [row for row in oldest if row[3] < before]
            dropped += self._drop(old, "old")
            if len(old) < CHUNK:
                break
        return dropped

    def _shrink(self, room: int) -> list[Dropped]:
        dropped: list[Dropped] = []
        while len(dropped) < MOST_DROPPED and self._used() > self._most() - room:
            oldest = self._oldest(CHUNK // 4)
            if not oldest:
                break
            dropped += self._drop(oldest, "full")
        return dropped

    def _parted(self, entries: Sequence[Entry]) -> tuple[Sequence[Entry], list[Dropped]]:
        """Split entries into the newest that fit into the limit, and the others.

        The others are lost, because the batch is larger than the file may be.
        """
        first = 0
        while _room(entries[first:]) > self._most():
            first += CHUNK // 4
        refused = ((entry.number + self.base, self._series[entry.series], entry.size) for entry in entries[:first])
        return entries[first:], self._lose(refused, "full")

    def _most(self) -> int:
        return self.limits.max_size - self._wal_room()

    def _wal_room(self) -> int:
        return min(WAL_ROOM, self.limits.max_size // 4)

    def _used(self) -> int:
        pages, free, size = (self._one(f"PRAGMA {key}")[0] for key in ("page_count", "freelist_count", "page_size"))
        return int((pages - free) * size)

    def _oldest(self, count: int) -> list[tuple[int, int, int, float]]:
        rows = self._connection.execute(
            f"SELECT number, series, length(payload) + {OVERHEAD}, taken FROM entry ORDER BY number LIMIT ?",  # noqa: S608
            (count,),
        ).fetchall()
        for row in rows:
            _sound(row, int, int, int, float)
            if row[1] not in self._names:
                raise CorruptError("a message belongs to no series")
        return rows

    def _drop(self, rows: Iterable[tuple[int, int, int, float]], reason: str) -> list[Dropped]:
        """Delete messages and count them as lost, in the same commit."""
        rows = list(rows)
        self._connection.executemany("DELETE FROM entry WHERE number = ?", ((row[0],) for row in rows))
        return self._lose(((number, series, size) for number, series, size, _ in rows), reason)

    def _lose(self, rows: Iterable[tuple[int, int, int]], reason: str) -> list[Dropped]:
        dropped, counts, sizes = [], Counter[int](), Counter[int]()
        for number, series, size in rows:
            dropped.append(Dropped(number - self.base, self._names[series], size, reason))
            counts[series] += 1
            sizes[series] += size
        for series, count in counts.items():
            self._connection.execute(
                "UPDATE series SET waiting = max(0, waiting - ?), bytes = max(0, bytes - ?) WHERE id = ?",
                (count, sizes[series], series),
            )
            (known,) = self._one("SELECT total(count) FROM loss WHERE series = ? AND reason = ?", series, reason)
            self._connection.execute(_SAVE_LOSS, (series, reason, min(int(known) + count, MAX_COUNT)))
        return dropped

    def _one(self, statement: str, *values: int | str) -> tuple[int, ...]:
        row: tuple[int, ...] = self._connection.execute(statement, values).fetchone()
        return row


def _room(entries: Iterable[Entry]) -> int:
    """Return the bytes that entries take in the file.

    A page holds three of the largest entries, and a quarter of the page stays empty.
    """
    return sum((len(entry.payload) + 40) * 4 // 3 for entry in entries)


def _sound(row: tuple[object, ...], *kinds: type) -> None:
    """Raise `CorruptError` for a value of the wrong type or an impossible number.

    SQLite has no checksums: a flipped bit can turn a number into text, a count negative, or a time infinite.
    """
    for value, kind in zip(row, kinds, strict=True):
        least = 0 if kind is int else -MAX_COUNT
        if not isinstance(value, kind) or (isinstance(value, (int, float)) and not least <= value <= MAX_COUNT):
            raise CorruptError(f"{value!r:.50} is not a valid value")


@cache
def _layout() -> dict[tuple[str, str], str | None]:
    """Return the statement of each table and index as SQLite stores it; None for an index that SQLite itself makes."""
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(_LAYOUT)
        return {(kind, name): sql for kind, name, sql in memory.execute("SELECT type, name, sql FROM sqlite_master")}


def _is_ours(kind: object, name: object, table: object, statement: object) -> bool:
    """Return whether a table or an index belongs to the layout, or does not affect the tables of the layout.

    A trigger, a view, a computed column or a constraint is rejected: it contains expressions, which SQLite evaluates,
    and only a manipulated file has one. A later version may have added plain columns, and tables.
    """
    if not isinstance(kind, str) or not isinstance(name, str) or kind not in ("table", "index"):
        return False
    if isinstance(statement, str) and len(statement) > MAX_STATEMENT_BYTES:
        return False
    if not isinstance(table, str) or ("table", table.lower()) not in _layout():  # SQLite ignores the case of names
        return True
    ours = _layout().get((kind, name), "")
    if not ours or not isinstance(statement, str):
        return ours is None and statement is None
    if statement == ours:
        return True
    place = after.start() if (after := _AFTER_COLUMNS.search(ours)) else len(ours)
    columns = statement.removeprefix(ours[:place]).removesuffix(ours[place:])
    return statement == ours[:place] + columns + ours[place:] and bool(_COLUMNS.fullmatch(columns))


def _judged(error: Exception) -> Exception:
    """Return the error as a `CorruptError` if the file is unusable. SQLite's own messages may be invalid text.

    In a correct file no constraint fails for a row of this program, so a failing constraint also means corruption.
    """
    if isinstance(error, MemoryError):
        return CorruptError(f"it takes more than {MAX_HEAP_BYTES >> 20} MiB of memory") if _has_memory() else error
    if isinstance(error, (UnicodeDecodeError, sqlite3.IntegrityError)):
        return CorruptError(str(error))
    broken = isinstance(error, sqlite3.DatabaseError) and any(word in str(error) for word in _BROKEN)
    return CorruptError(str(error)) if broken else error


def _has_memory() -> bool:
    """Return whether the process can allocate twice SQLite's limit. If so, the file exceeds that limit."""
    with suppress(MemoryError):
        return bool(bytes(2 * MAX_HEAP_BYTES))
    return False
