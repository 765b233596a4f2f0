"""The outbox: messages wait in memory, and those without an acknowledgement go to the disk within a second."""

from __future__ import annotations

import itertools
import logging
import math
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from edge_infer.contract.messages import OutboxHealth
from edge_infer.contract.topics import Place
from edge_infer.ipc.delivered_numbers import DeliveredNumbers
from edge_infer.ipc.messages import Acked, Tally
from edge_infer.plan.records import OutboxPlan
from edge_infer.platform.clock import kernel_tag, uptime
from edge_infer.platform.event_loop import readable
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher.outbox.database import Batch, Dropped, Limits, SeriesRow
from edge_infer.publisher.outbox.database_worker import (
    AccountSaved,
    BatchWritten,
    DatabaseOpened,
    DatabaseWorker,
    Failed,
    Loaded,
    LoadEntries,
    Open,
    SaveAccount,
)
from edge_infer.publisher.outbox.delivery_ledger import DeliveryLedger
from edge_infer.publisher.outbox.entry import OVERHEAD, Entry, MessageSeries
from edge_infer.publisher.outbox.queues import PriorityQueues

log = logging.getLogger(__name__)

MEMORY_LIMIT: Final = 4 << 20
BURST: Final = 4
"""Factor by which a burst of messages may exceed the limit while the disk works."""
STORE_AFTER: Final = 0.8
"""Seconds without an acknowledgement after which a message is committed, so that it is on the disk within a second."""
LATE_AFTER: Final = 10.0
"""Seconds after which an unsent message is late; newer ones then go first."""
REMOVE_AFTER: Final = 0.3
"""Seconds until delivered messages are deleted from the disk. A power cut before that sends them twice."""
FEW: Final = 64
"""Maximum number of delivered messages that stay on the disk while others are in flight, until the next commit. A
commit also stores those in flight. To delete these at once takes another commit, which stores those in flight then:
without an end if the broker is some 100 ms away, and the card would wear out."""
ACCOUNT_EVERY: Final = 120.0
"""Seconds between two commits while everything is acknowledged. Each commit writes some 24 KiB to the card, with the
overhead of the file system."""
OPEN_AGAIN: Final = 5.0
"""Seconds until a failed disk is tried again."""
READY_WITHIN: Final = 1.5
"""Seconds to wait for the file before work begins without it."""
HANGS_AFTER: Final = 10.0
"""Seconds without an answer after which a disk counts as failed, until it answers."""
CLOSE_WITHIN: Final = 6.0
"""Seconds for the last commit. A cheap or worn SD card may take a second for one sync, and a commit needs several. A
publisher that is replaced on purpose also waits this long for a hanging disk."""


class StoredOutbox:
    """Keeps messages until the broker acknowledges them, and counts produced = delivered + pending + lost.

    One thread uses it. No call waits for a disk or the network, or raises for their errors. Without a file, or while
    the disk fails, the outbox reports ``degraded`` and is a ring buffer of ``limit`` bytes. It counts lost messages by
    reason:

    - ``full``
    - ``old``: too old
    - ``handover``: the engine dropped the message before the publisher received it
    - ``unknown``: the process that knew the outcome has died
    - ``corrupt``: the file was corrupt
    - the reason given to `lose` or `drop`
    """

    def __init__(
        self,
        limit: int = MEMORY_LIMIT,
        clock: Callable[[], float] = uptime,
        delivered: DeliveredNumbers | None = None,
    ) -> None:
        """``delivered``: messages that the broker acknowledged to an earlier process. They are not sent again."""
        self._limit = limit
        self._noted = delivered
        self._given: dict[str, dict[MessageSeries, int]] = {}  # by boot: last numbers used before this process began
        self._clock = clock
        self._account = DeliveryLedger()
        self._lanes = PriorityQueues()
        self._numbers = itertools.count(1)
        self._out: dict[int, Entry] = {}
        self._dropped: dict[int, Dropped] = {}  # in flight, and no longer on the disk
        self._fresh: OrderedDict[int, Entry] = OrderedDict()  # not on the disk: waiting, or given out
        self._fresh_bytes = 0
        self._gone = array("q")  # to delete from the disk
        self._gone_since = self._changed_since = math.inf
        self._tried_upto = 0  # the highest number that may be on the disk
        self._disk: DatabaseWorker | None = None
        self._limits = Limits(0, math.inf)
        self._writing: Batch | None = None
        self._open = self._degraded = self._known = False
        self._goes_on: str | None = None
        self._opening_since = -math.inf
        self._open_at = self._ordered_at = math.inf
        self._above: dict[MessageSeries, int] = {}
        self._boot = ""
        self._rarely = LogThrottle()

    def __enter__(self) -> StoredOutbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Lifecycle

    def use(self, folder: Path, plan: OutboxPlan, kernel: str = "") -> None:
        """Store waiting messages in this folder, within these limits. Another folder needs another process."""
        self._limits = Limits(plan.max_size, plan.max_age)
        if self._disk is None:
            self._disk = DatabaseWorker(folder, self._limits, kernel or kernel_tag(), self._clock)
            self._opening_since = self._clock()
            self._order_open(self._disk)
        self._disk.limits = self._limits

    @property
    def ready(self) -> bool:
        """Whether the backlog of earlier processes is known.

        Only then may the publisher take messages of an engine, and `ended` be called.
        """
        return self._known or self._degraded or self._clock() - self._opening_since > READY_WITHIN

    def files(self) -> list[int]:
        """Return the descriptors to wait for: when one is readable, `step` has something to do."""
        return [self._disk.fileno()] if self._disk else []

    def due(self) -> float:
        """Return the seconds until `step` has something to do without a readable descriptor."""
        if self._disk is None:
            return math.inf
        moments = [self._open_at] if not self._open else [] if self._writing else [self._write_at()]
        if not self.ready:
            moments.append(self._opening_since + READY_WITHIN)
        if self._lanes:
            moments.append(self._clock() + LATE_AFTER)
        return max(0.0, min(moments, default=math.inf) - self._clock())

    def step(self) -> None:
        """Do what is due."""
        now = self._clock()
        if self._disk is not None:
            for outcome in self._disk.outcomes():
                self._learn(outcome)
            if not self._open and now >= self._open_at:
                self._order_open(self._disk)
            self._read_on(self._disk)
            if self._open and self._writing is None and now >= self._write_at():
                self._write(self._disk)
            if self._hangs and self._rarely.due("hangs"):
                log.error("the disk does not answer: queueing in memory, %d bytes at most", self._limit)
        self._lanes.turn_late(now - LATE_AFTER)
        while self._fresh and (oldest := next(iter(self._fresh.values()))).taken < now - self._limits.max_age:
            self._lose(oldest, "old")

    def hand_over(self, boot: str | None) -> None:
        """Record that the engine of this boot goes on: another process continues with the same outbox."""
        self._goes_on = boot

    def close(self) -> None:
        """Store as much as possible and close. May be called twice."""
        disk, deadline = self._disk, time.monotonic() + CLOSE_WITHIN
        if disk is None:
            return
        self._disk = None
        self._await(disk, deadline)
        for dropped in self._dropped.values():
            self._count_dropped(dropped)
        self._dropped.clear()
        if self._open:
            self._write(disk)
            self._await(disk, deadline)
        if self._degraded and self._writing is None and (self._fresh or self._account.changed):
            self._give_up_fresh(disk)  # not if the disk is only slow: what it is writing is not lost
            self._await(disk, deadline)
        if self._fresh:
            log.warning("outbox not written at shutdown: %d messages may be lost", len(self._fresh))
        elif self._writing:
            log.warning("outbox not written at shutdown: delivered messages may be sent again")
        disk.close(max(0.0, deadline - time.monotonic()))

    def _give_up_fresh(self, disk: DatabaseWorker) -> None:
        """Count the messages as lost that the disk cannot store at the end, and write only the delivery account.

        An engine that goes on sends its messages again, so neither these nor its numbers are settled.
        """
        given_up = [entry for entry in self._fresh.values() if entry.series.boot != self._goes_on]
        if given_up:
            log.error("cannot write the last %d messages to disk; counting them as lost", len(given_up))
        for entry in given_up:
            self._account.lost(entry.series, entry.seq, entry.size, "full")
        self._fresh.clear()
        rows, forgotten = self._account.changes()
        rows = tuple(row for row in rows if row.series.boot != self._goes_on)
        self._writing, self._ordered_at = Batch((), tuple(self._gone), rows, forgotten), self._clock()
        disk.order(SaveAccount(self._writing))

    def _await(self, disk: DatabaseWorker, deadline: float) -> None:
        """Wait for the outstanding orders of the disk."""
        while (self._writing or not (self._open or self._degraded)) and (left := deadline - time.monotonic()) > 0:
            readable([disk.fileno()], timeout=left)
            for outcome in disk.outcomes():
                self._learn(outcome)

    # Reports from the engine

    def resume(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Set the safe numbers of a boot, as reported by the engine or, for a dead engine, by the supervisor.

        `put` continues after these numbers.
        """
        self._account.resume(boot, tallies)
        self._given.setdefault(boot, {MessageSeries(each.pipeline, boot, each.kind): each.given for each in tallies})

    def report(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Record the highest numbers that the engine has used: messages that it still keeps are pending, too."""
        self._account.report(boot, tallies)

    def ended(self, boot: str, tallies: Iterable[Tally]) -> None:
        """End a boot: no more messages come. Its missing numbers count as ``unknown``."""
        self._account.close(boot, tallies)
        self._note_change(STORE_AFTER)

    def started(self, boot: str) -> None:
        """Record the start of an engine: every earlier one has ended."""
        self._boot = boot
        self._account.close_others((boot,))
        self._note_change(STORE_AFTER)

    def put(self, series: MessageSeries, seq: int, payload: bytes, *, late: bool, missing: str = "handover") -> bool:
        """Add a message; return False if its number was taken before. Without space, drop the oldest messages.

        Numbers between the previous one and this one count as lost for the reason ``missing``.
        """
        size = len(payload) + OVERHEAD
        if not self._account.take(series, seq, size, missing):
            return False
        entry = Entry(next(self._numbers), series, seq, payload, late, self._clock())
        self._fresh[entry.number] = entry
        self._fresh_bytes += entry.size
        self._lanes.put(entry)
        self._note_change(ACCOUNT_EVERY)
        while self._fresh_bytes > self._limit * (BURST if self._open and not self._hangs else 1):
            self._lose(self._oldest_waiting(), "full")
        return True

    def settled_before(self, series: MessageSeries, seq: int, missing: str = "handover") -> bool:
        """Return whether this number was taken before, or an earlier publisher delivered its message.

        A delivered message is added to the account.
        """
        if seq > self._account.highest(series) and self._delivered_before(series, seq):
            self._account.take(series, seq, 0, missing)
            self._account.delivered(series, seq, 0)
            self._note_change(ACCOUNT_EVERY)
        return seq <= self._account.highest(series)

    def lose(self, series: MessageSeries, seq: int, reason: str, missing: str = "handover") -> None:
        """Count a received message that cannot be published as lost. The engine may then forget it."""
        self._account.lose(series, seq, reason, missing)
        self._note_change(STORE_AFTER)

    def leave_out(self, series: MessageSeries, seq: int) -> None:
        """Skip the missing sequence numbers before ``seq``, because it is not known whether the engine used them."""
        self._account.leave_out(series, seq)
        self._note_change(STORE_AFTER)

    def highest(self, series: MessageSeries) -> int:
        """Return the highest known number of a series; 0 for none."""
        return self._account.highest(series)

    @property
    def settled(self) -> int:
        """Count of sequence numbers that have become safe or lost since the last call of `safe`."""
        return self._account.settled

    def safe(self) -> list[Acked]:
        """Return the messages that the engine may forget and that are not yet acknowledged to it (see `told`)."""
        return self._account.safe()

    def told(self, acked: Acked) -> None:
        """Record that the engine has received this acknowledgement."""
        self._account.told(acked)

    # Calls of the connection

    def next(self, held: Container[Place]) -> Entry | None:
        """Return the next entry to send, outside the ``held`` places.

        Events precede results, and live entries precede the backlog; each group is in order. Each entry is given out
        once, until `again` or `rewind` takes it back.
        """
        while entry := self._lanes.next(held, backlog=self._beginning_known):
            if not self._delivered_before(entry.series, entry.seq):
                self._out[entry.number] = entry
                return entry
            self._deliver(entry)
        return None

    def _delivered_before(self, series: MessageSeries, seq: int) -> bool:
        """Return whether an earlier publisher delivered a message.

        It cannot have delivered one that was numbered after its end.
        """
        if self._noted is None or not self._noted.before(series, seq):
            return False
        given = self._given.get(series.boot)
        return given is None or seq <= given.get(series, 0)

    def acked(self, entry: Entry) -> None:
        """Record that the broker has acknowledged an entry."""
        if self._out.pop(entry.number, None):
            if self._noted is not None:
                self._noted.add(entry.series, entry.seq)
            self._deliver(entry)

    @property
    def reading(self) -> bool:
        """Whether waiting entries are being read from the disk, so that `next` returns none for a moment."""
        shelves = self._lanes.shelves.values()
        return self._open and not self._hangs and any(each.reading or each.wants for each in shelves)

    def drop(self, entry: Entry, reason: str) -> None:
        """Count an entry that can never be sent as lost for this reason."""
        if self._out.pop(entry.number, None):
            self._settle(entry)
            self._account.lost(entry.series, entry.seq, entry.size, reason)
            self._note_change(STORE_AFTER)

    def again(self, entry: Entry) -> None:
        """Put back an entry that the broker did not accept: it waits at its position, marked late."""
        if self._out.pop(entry.number, None):
            self._take_back([entry])

    def rewind(self) -> None:
        """Put back every unacknowledged entry in order, all marked late: the connection is gone."""
        returned, self._out = list(self._out.values()), {}
        self._take_back(returned)
        self._lanes.turn_late(math.inf)

    def _take_back(self, entries: Iterable[Entry]) -> None:
        """Put entries back that did not arrive, except those that the disk has dropped in the meantime."""
        for entry in entries:
            if dropped := self._dropped.pop(entry.number, None):
                self._count_dropped(dropped)
            else:
                self._lanes.give_back([entry])

    def account(self) -> OutboxHealth:
        """Return pending messages and bytes, delivered, lost by reason, and degraded."""
        produced, pending, size, delivered, lost = self._account.sums()
        return OutboxHealth(pending, size, delivered, lost, self._degraded or self._hangs, produced)

    def __len__(self) -> int:
        return len(self._lanes) + len(self._out)

    # Fate of entries

    def _oldest_waiting(self) -> Entry:
        """Return the oldest entry that is only in memory. Entries in flight may arrive, so they come last."""
        waiting = (entry for entry in self._fresh.values() if entry.number not in self._out)
        return next(waiting, None) or next(iter(self._fresh.values()))

    def _lose(self, entry: Entry, reason: str) -> None:
        """Drop the oldest entry in memory, even if it is in flight."""
        if not self._out.pop(entry.number, None):
            self._lanes.remove(entry.place, entry.number)
        self._settle(entry)
        self._account.lost(entry.series, entry.seq, entry.size, reason)
        self._note_change(STORE_AFTER)
        self._tell_loss(reason)

    def _deliver(self, entry: Entry) -> None:
        self._settle(entry)
        self._account.delivered(entry.series, entry.seq, entry.size)
        self._note_change(ACCOUNT_EVERY)

    def _settle(self, entry: Entry) -> None:
        self._dropped.pop(entry.number, None)
        if self._fresh.pop(entry.number, None):
            self._fresh_bytes -= entry.size
        if entry.number <= self._tried_upto:
            self._gone_since = min(self._gone_since, self._clock())
            self._gone.append(entry.number)

    def _note_change(self, patience: float) -> None:
        self._changed_since = min(self._changed_since, self._clock() + patience)

    def _tell_loss(self, reason: str) -> None:
        if self._rarely.due(reason):
            what = {"full": "is full", "old": "contains messages that are too old"}[reason]
            log.warning(
                "the outbox %s: dropping the oldest messages and counting them as lost (logged once a minute)", what
            )

    # The disk

    @property
    def _beginning_known(self) -> bool:
        """Whether the backlog in the file is known, or need not be waited for because the disk fails or hangs."""
        return self._known or self._degraded or self._disk is None or self._hangs

    @property
    def _hangs(self) -> bool:
        asked = self._writing is not None or not (self._open or self._degraded)
        return asked and self._clock() - self._ordered_at > HANGS_AFTER

    def _order_open(self, disk: DatabaseWorker) -> None:
        self._open, self._open_at, self._ordered_at = False, math.inf, self._clock()
        self._above = {} if self._known else self._account.begun()
        disk.order(Open(self._above))

    def _write_at(self) -> float:
        """Return the time of the next commit."""
        oldest = next(iter(self._fresh.values())).taken if self._fresh else math.inf
        if self._fresh_bytes > self._limit / 2:
            return -math.inf
        removal = self._gone_since + REMOVE_AFTER if len(self._gone) > FEW or not self._fresh else math.inf
        return min(oldest + STORE_AFTER, removal, self._changed_since)

    def _write(self, disk: DatabaseWorker) -> None:
        """Write everything that is not on the disk, so that the account in the file is complete."""
        rows, forgotten = self._account.changes()
        rows = tuple(map(self._as_on_disk, rows))
        self._writing = Batch(tuple(self._fresh.values()), tuple(self._gone), rows, forgotten)
        self._tried_upto = next(reversed(self._fresh), self._tried_upto)
        self._gone_since = self._changed_since = math.inf
        self._ordered_at = self._clock()
        disk.order(self._writing)

    def _as_on_disk(self, row: SeriesRow) -> SeriesRow:
        """Return the row without the messages in flight that the disk has dropped: they are pending only here."""
        for dropped in self._dropped.values():
            if dropped.series == row.series:
                lost = {**row.lost, dropped.reason: row.lost.get(dropped.reason, 0) + 1}
                row = replace(row, waiting=row.waiting - 1, bytes=max(0, row.bytes - dropped.size), lost=lost)
        return row

    def _read_on(self, disk: DatabaseWorker) -> None:
        if not self._open:
            return
        for place, shelf in self._lanes.shelves.items():
            if shelf.wants and shelf.hole:
                shelf.reading = True
                disk.order(LoadEntries(place, shelf.hole.after, shelf.hole.upto))

    def _learn(self, outcome: DatabaseOpened | BatchWritten | AccountSaved | Loaded | Failed) -> None:
        if isinstance(outcome, DatabaseOpened):
            self._opened(outcome)
        elif isinstance(outcome, BatchWritten):
            self._written(outcome)
        elif isinstance(outcome, AccountSaved):
            self._writing = None
        elif isinstance(outcome, Loaded):
            place = outcome.load.place
            shelf, here = self._lanes.shelf(place), {*self._out, *self._gone, *self._lanes.live(place)}
            complete = outcome.complete and shelf.hole is not None and shelf.hole.upto == outcome.load.upto
            if missing := shelf.fill(outcome.entries, here, complete=complete):  # else the range grew after the order
                self._miss(place, missing)
        else:
            self._failed(outcome)

    def _opened(self, opened: DatabaseOpened) -> None:
        self._open = True
        if opened.unwritten:
            self._writing = None
        if opened.emptied:
            self._begin_anew()
        elif not self._known:
            if self._disk and self._account.begun() != self._above:  # a series began since the order
                self._order_open(self._disk)
                return
            self._account.restore(opened.rows)
            self._find_waiting(opened.rows)
            if self._boot:
                self._account.close_others((self._boot,))
        self._known = True
        self._note_change(STORE_AFTER)

    def _find_waiting(self, rows: list[SeriesRow]) -> None:
        counts: dict[Place, int] = {}
        for row in rows:
            counts[row.series.place] = counts.get(row.series.place, 0) + row.waiting
        for place, count in counts.items():
            if count:
                self._lanes.shelf(place).waits_on_disk(count, 0)
        if waiting := sum(counts.values()):
            log.info("%d messages of an earlier run are queued in the outbox", waiting)

    def _begin_anew(self) -> None:
        """Put the entries in memory into the new file; those that were only on the disk are lost."""
        for shelf in self._lanes.shelves.values():
            shelf.forget_disk()
        kept = sorted([*self._lanes.entries(), *self._out.values()], key=lambda entry: entry.number)
        self._dropped.clear()
        self._fresh = OrderedDict((entry.number, entry) for entry in kept)
        self._fresh_bytes = sum(entry.size for entry in kept)
        self._account.lose_stored(kept)
        self._account.without_file()
        self._account.everything_changed()

    def _written(self, written: BatchWritten) -> None:
        batch, self._writing = written.batch, None
        if self._degraded:
            log.info("the disk works again: storing the outbox on disk")
            self._degraded = False
        for entry in batch.entries:
            if self._fresh.pop(entry.number, None):
                self._fresh_bytes -= entry.size
                self._account.stored(entry.series, entry.seq)
        del self._gone[: len(batch.gone)]
        self._account.committed(batch.series, batch.forgotten)
        settled = set(self._gone)
        for dropped in written.dropped:
            if dropped.number not in settled:
                self._give_up(dropped)
        if batch.entries:
            upto = batch.entries[-1].number
            for shelf in self._lanes.shelves.values():
                shelf.release(upto)
        if self._gone:
            self._gone_since = min(self._gone_since, self._clock())
        if self._account.changed or len(self):  # a commit also drops messages past max_age
            self._note_change(ACCOUNT_EVERY)

    def _give_up(self, dropped: Dropped) -> None:
        """Drop an entry that the disk has dropped and counted; one in flight may still arrive."""
        if dropped.number in self._out:
            self._dropped[dropped.number] = dropped
        elif self._lanes.remove(dropped.series.place, dropped.number):
            self._count_dropped(dropped)

    def _count_dropped(self, dropped: Dropped) -> None:
        self._account.lost(dropped.series, 0, dropped.size, dropped.reason)
        self._tell_loss(dropped.reason)

    def _miss(self, place: Place, missing: int) -> None:
        log.error("%d messages for %s are missing on the disk; counting them as lost", missing, place.topic("…"))
        self._account.lose_some(place, missing, [*self._lanes.entries(), *self._out.values()])

    def _failed(self, failed: Failed) -> None:
        if self._rarely.due("disk"):
            log.error(
                "%s: queueing in memory, %d bytes at most; retrying every %.0f s (logged once a minute)",
                failed.why, self._limit, OPEN_AGAIN,
            )  # fmt: skip
        self._writing = None
        for shelf in self._lanes.shelves.values():
            shelf.reading = False
        self._open, self._degraded = False, True
        self._open_at = self._clock() + OPEN_AGAIN
