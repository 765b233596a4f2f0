"""A thread for the disk, so that the caller does not wait for it: orders go in, outcomes come out."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

from edge_infer.contract.codec import decode_json, replace
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.platform.durable_files import sync_folder
from edge_infer.platform.paths import content
from edge_infer.publisher import reserved_space
from edge_infer.publisher.outbox import saved_account
from edge_infer.publisher.outbox.database import FILE, Batch, CorruptError, Database, Dropped, Limits, SeriesRow
from edge_infer.publisher.outbox.entry import Entry, MessageSeries
from edge_infer.publisher.outbox.saved_account import SavedAccount, account_of, followed_by

log = logging.getLogger(__name__)

ASIDE: Final = ".corrupt"
"""Suffix of a corrupt file that is kept for inspection. The file replaces the one kept before; of a large file, only
the beginning is kept. Its size counts towards the limit of the outbox, so both files together never exceed the
limit."""
SPACE_FILES: Final = ("outbox.space", "open-events.space")
SPACE_SHARE: Final = 16
"""Files that reserve disk space for the last account and the last list of open events, if the process ends while the
disk is full. Together they take twice `reserved_space.MOST` bytes, at most the limit divided by `SPACE_SHARE`, and
count towards the limit."""
KEPT_ASIDE: Final = 4
"""Divisor of the limit; the quotient is the maximum size of a kept corrupt file."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the file, and delete the messages of each series ``above`` a number, because the engine resends them."""

    above: dict[MessageSeries, int]


@dataclass(frozen=True, slots=True)
class SaveAccount:
    """Save a batch without messages in the reserved space, because the disk is full and the process ends."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class LoadEntries:
    """Read the next messages of a place (see `Database.load`)."""

    place: Place
    after: int | None
    upto: int


@dataclass(frozen=True, slots=True)
class DatabaseOpened:
    """The file is open and holds this account; ``emptied``: it was corrupt or missing, and a new one replaces it.

    ``unwritten``: the worker found the corruption while it wrote a batch, so the caller has to order the batch again.
    """

    rows: list[SeriesRow]
    emptied: bool
    unwritten: bool = False


@dataclass(frozen=True, slots=True)
class BatchWritten:
    """A batch is committed; the commit also dropped these messages."""

    batch: Batch
    dropped: list[Dropped]


@dataclass(frozen=True, slots=True)
class AccountSaved:
    """The account of the batch is in the reserved space, for the next process."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Loaded:
    """Messages that were read; ``complete``: nothing is left up to the requested number."""

    load: LoadEntries
    entries: list[Entry]
    complete: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The disk failed and the file is closed; ``why`` is for the operator."""

    order: Order
    why: str


Order: TypeAlias = Open | Batch | LoadEntries | SaveAccount
Outcome = DatabaseOpened | BatchWritten | AccountSaved | Loaded | Failed


class DatabaseWorker:
    """A thread that owns the file in ``folder``.

    Its descriptor is readable when there are outcomes; `close` ends it.
    """

    def __init__(self, folder: Path, limits: Limits, kernel: str, uptime: Callable[[], float]) -> None:
        self.path = folder / FILE
        self.limits = limits
        self._kernel = kernel
        self._uptime = uptime
        self._database: Database | None = None
        self._base: int | None = None
        self._at: float | None = None  # time of the last commit
        self._amended = False  # whether the account that an earlier process saved was looked for
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the file descriptor for select: readable when there are outcomes."""
        return self._readable

    def order(self, order: Order) -> None:
        """Queue an order after all earlier ones."""
        self._orders.put(order)

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes since the last call."""
        with suppress(BlockingIOError):
            while len(os.read(self._readable, 4096)) == 4096:
                pass
        found = []
        while self._outcomes:
            found.append(self._outcomes.popleft())
        return found

    def close(self, timeout: float) -> bool:
        """End after all queued orders; return False if the disk hangs. May be called twice."""
        if self._readable < 0:
            return True
        self._orders.put(None)
        self._thread.join(timeout)
        if ended := not self._thread.is_alive():  # otherwise the thread still needs its end of the pipe
            for end in (self._readable, self._writable):
                os.close(end)
            self._readable = self._writable = -1
        return ended

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._outcomes.append(self._attempt(order))
            with suppress(BlockingIOError):  # a full pipe wakes the reader as well
                os.write(self._writable, b"!")
        self._release()

    def _attempt(self, order: Order) -> Outcome:
        try:
            return self._do(order)
        except CorruptError as error:
            return self._begin_anew(order, error)
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._release()
            return Failed(order, f"{self.path} cannot be used: {error}")
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:  # rows of an attacker, beyond the checks
            return self._begin_anew(order, CorruptError(f"{type(error).__name__}: {error}"))

    def _do(self, order: Order) -> Outcome:
        if isinstance(order, Open):
            self._release()
            missing = not self.path.exists()
            self._trim_aside()
            self._database = self._open()
            self._keep_space()
            return DatabaseOpened(self._database.contents(order.above), emptied=missing)
        if isinstance(order, SaveAccount):
            self._release()
            with suppress(OSError, WireError):  # a file system that copies what is overwritten may have no room
                if self._save_account(order.batch):
                    return AccountSaved(order.batch)
            unread = self._at is None
            with suppress(OSError):
                self._space.unlink(missing_ok=True)
            self._database, order = self._open(), order.batch
            if unread:
                return self._amend_unread(self._database, order)
        if self._database is None:
            return Failed(order, f"{self.path} is not open")
        if isinstance(order, LoadEntries):
            entries = self._database.load(order.place, order.after, order.upto)
            return Loaded(order, entries, complete=not entries)
        self._database.limits = self._within()
        dropped = self._database.write(order, self._uptime())
        if order.gone:
            self._database.tidy()
        return BatchWritten(order, dropped)

    def _open(self) -> Database:
        database = Database(self.path, self._within(), self._kernel, self._uptime(), self._base)
        self._base = database.base
        try:
            if not self._amended:
                self._amend(database)
        except BaseException:
            database.close()
            raise
        return database

    def _amend(self, database: Database) -> None:
        """Move the account that an earlier process saved (see `SaveAccount`) into the file."""
        if (account := self._saved()) is not None and account.at == database.at:
            rows = [each.row for each in account.series]
            database.amend(account.gone, account.forgotten, rows, self._uptime())
        self._amended = True
        with suppress(OSError):
            self._account.unlink(missing_ok=True)
            sync_folder(self._account.parent)

    def _amend_unread(self, database: Database, batch: Batch) -> BatchWritten:
        """Write the account of a process that could not read the file before: the file has further counts."""
        known = {row.series: row for row in database.contents({})}
        rows = [followed_by(known[row.series], row) if row.series in known else row for row in batch.series]
        database.amend((), batch.forgotten, rows, self._uptime())
        return BatchWritten(batch, [])

    def _saved(self) -> SavedAccount | None:
        try:
            return decode_json(SavedAccount, content(self._account, reserved_space.MOST))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            log.warning("%s cannot be read (%s): the last account may be incomplete", self._account, error)
            return None

    def _save_account(self, batch: Batch) -> bool:
        """Save the account in the reserved space; return False if its outbox was never open. Raises `OSError`."""
        account = account_of(batch, self._at or 0.0, self._base or 0)
        if not self._amended and (earlier := self._saved()) is not None:
            account = earlier.followed_by(account)
            self._account.replace(self._space)
        elif self._at is None:
            return False
        reserved_space.fill(self._space, account.packed(self._space.stat().st_size), self._account)
        return True

    def _keep_space(self) -> None:
        for name in SPACE_FILES:
            reserved_space.reserve(self.path.with_name(name), self._space_bytes // len(SPACE_FILES))

    @property
    def _space_bytes(self) -> int:
        return min(len(SPACE_FILES) * reserved_space.MOST, self.limits.max_size // SPACE_SHARE)

    @property
    def _space(self) -> Path:
        return self.path.with_name(SPACE_FILES[0])

    @property
    def _account(self) -> Path:
        return self.path.with_name(saved_account.FILE)

    def _begin_anew(self, order: Order, error: CorruptError) -> Outcome:
        """Rename the corrupt file (see `ASIDE`) and open a new one. The messages in the old file are lost."""
        self._release()
        aside = self._aside
        try:
            self.path.replace(aside)
            self._trim_aside()
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            log.error(
                "%s is corrupt (%s): moved to %s; the messages that were only in it are lost",
                self.path,
                error,
                aside.name,
            )
            self._database = self._open()
            return DatabaseOpened(self._database.contents({}), emptied=True, unwritten=isinstance(order, Batch))
        except (sqlite3.Error, OSError, MemoryError) as further:
            self._release()
            return Failed(order, f"{self.path} is corrupt, and the publisher cannot create a new one: {further}")

    def _trim_aside(self) -> None:
        """Cut the renamed corrupt file to its maximum size; an earlier process may have left one of any size."""
        with suppress(FileNotFoundError):
            if self._aside.stat().st_size > (most := self.limits.max_size // KEPT_ASIDE):
                os.truncate(self._aside, most)

    @property
    def _aside(self) -> Path:
        return self.path.with_name(self.path.name + ASIDE)

    def _within(self) -> Limits:
        """Return the limits minus the reserved space and the size of a renamed corrupt file, if there is one."""
        try:
            taken = self._aside.stat().st_size
        except OSError:
            taken = 0
        most = self.limits.max_size
        return replace(self.limits, max_size=most - min(taken, most // KEPT_ASIDE) - self._space_bytes)

    def _release(self) -> None:
        database, self._database = self._database, None
        if database:
            self._at = database.at
            with suppress(sqlite3.Error):
                database.close()
