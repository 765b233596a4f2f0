"""The delivery account of every sequence number: produced = delivered + pending + lost.

It counts by pipeline, boot (one start of the engine) and kind, and survives restarts.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from edge_infer.contract.messages import MOST
from edge_infer.contract.topics import Place
from edge_infer.ipc.messages import Acked, Tally
from edge_infer.publisher.outbox.database import SeriesRow
from edge_infer.publisher.outbox.entry import Entry, MessageSeries

log = logging.getLogger(__name__)

MOST_SERIES: Final = 1024
"""Maximum number of series with counts of their own. Older ones are merged into one total. A correct engine needs far
fewer."""
RECENT: Final = 20
"""Number of boots that are never merged: of the running engine, and of ended ones that the supervisor reports again to
each new publisher."""
UNKNOWN: Final = "unknown"
"""Loss reason: the engine used the number, and the process that knew the outcome has died. The message may have been
delivered."""
LEFT_OUT: Final = "left_out"
"""Stored like a loss reason, but no loss: it is not known whether the engine has used these numbers. Most of them were
never used, or were delivered before a power cut."""
OLDER: Final = ""
"""Pipeline and boot of the total of old series."""


@dataclass(slots=True)
class SeriesCounts:
    """The counts of one series.

    ``open`` are the sequence numbers that were taken and are neither safe nor lost. ``told`` is the highest number that
    the engine knows to be safe.

    ``resumed``: the engine has reported which numbers were acknowledged before this process started. Numbers up to
    ``begun`` are older than this process. ``unrecorded`` is the number of those that count as delivered only because
    the engine reports them as safe; no file records them. ``skipped_first`` is the number of those left out from 1 on;
    the file may record them.
    """

    highest: int = 0
    told: int = 0
    given: int = 0
    delivered: int = 0
    pending: int = 0
    bytes: int = 0
    closed: bool = False
    resumed: bool = True
    begun: int = 0
    unrecorded: int = 0
    skipped_first: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    open: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def safe(self) -> int:
        """The highest number up to which every number is safe or lost: the engine may forget them."""
        return next(iter(self.open)) - 1 if self.open else self.highest

    def lose(self, reason: str, count: int = 1) -> None:
        """Count a loss."""
        self.lost[reason] = min(self.lost[reason] + count, MOST)

    def balance(self) -> None:
        """Count as delivered what is neither pending nor lost; a negative remainder reduces the ``unknown`` losses."""
        self.delivered = self.highest - self.pending - self.lost.total()
        if self.delivered < 0:
            self.lost[UNKNOWN] = max(0, self.lost[UNKNOWN] + self.delivered)
            self.delivered = 0


class DeliveryLedger:
    """Accepts each number once and tracks which are still open. Collects changes for the next commit."""

    def __init__(self) -> None:
        self._tracks: OrderedDict[MessageSeries, SeriesCounts] = OrderedDict()
        self._changed: set[MessageSeries] = set()
        self._forgotten: list[MessageSeries] = []
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._without_file = False
        self.settled = 0
        """Count of sequence numbers that have become safe or lost since the last call of `safe`."""

    # Reports from the engine and the supervisor

    def resume(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Set the number after which each series of this boot continues, unless numbers of it were taken before."""
        if boot not in self._recent:
            self._recent.append(boot)
        for tally in tallies:
            series = MessageSeries(tally.pipeline, boot, tally.kind)
            track = self._tracks.get(series)
            if track is None:
                track = self._begin(series)
                track.begun, track.unrecorded = tally.safe, max(0, tally.safe - tally.lost)
            elif track.resumed:
                continue
            self._go_on(series, track, tally)
            if self._without_file:
                self._lose_unrecorded(series, track)

    def _go_on(self, series: MessageSeries, track: SeriesCounts, tally: Tally) -> None:
        """Count numbers that the engine reports as safe and that are not in the file.

        They were delivered or lost after the last commit.
        """
        track.told, track.resumed = tally.safe, True
        if tally.safe > track.highest:
            further = tally.safe - track.highest
            track.lose(UNKNOWN, min(further, max(0, tally.lost - track.lost.total())))
            track.highest = tally.safe
            track.balance()
            self._changed.add(series)

    def report(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Record the highest numbers that the engine has used: those that were not taken yet are pending, too."""
        for tally in tallies:
            if track := self._tracks.get(MessageSeries(tally.pipeline, boot, tally.kind)):
                track.given = max(track.given, tally.given)

    def close(self, boot: str, tallies: Iterable[Tally]) -> None:
        """End a boot: its engine uses no more numbers. Used numbers that never arrived count as ``unknown``."""
        self.resume(boot, tallies)
        for tally in tallies:
            track = self._tracks[MessageSeries(tally.pipeline, boot, tally.kind)]
            if tally.given > track.highest and not track.closed:
                track.lose(UNKNOWN, tally.given - track.highest)
                track.highest = tally.given
        for series, track in self._tracks.items():
            if series.boot == boot and not track.closed:
                track.closed, track.given = True, 0
                self._changed.add(series)

    def close_others(self, boots: Iterable[str]) -> None:
        """End all other boots: they ended while no publisher was running, so nothing more is known of their numbers."""
        for series, track in self._tracks.items():
            if series.boot not in boots and not track.closed:
                log.warning(
                    "pipeline %s: engine %s ended without its final counts; %ss after number %d may be lost",
                    series.pipeline, series.boot, series.kind, track.highest,
                )  # fmt: skip
                track.closed = True
                self._changed.add(series)

    def highest(self, series: MessageSeries) -> int:
        """Return the highest known number; 0 for none."""
        track = self._tracks.get(series)
        return track.highest if track else 0

    # Changes of single messages

    def take(self, series: MessageSeries, seq: int, size: int, missing: str) -> bool:
        """Take a sequence number; return False if it was taken before.

        Numbers between the previous one and this one count as lost for the reason ``missing``.
        """
        if not self._reach(series, seq, missing):
            return False
        track = self._tracks[series]
        track.open[seq] = None
        track.pending += 1
        track.bytes += size
        return True

    def lose(self, series: MessageSeries, seq: int, reason: str, missing: str) -> None:
        """Take the number of a message that cannot be kept, and count it as lost."""
        if self._reach(series, seq, missing):
            self._tracks[series].lose(reason)
            self.settled += 1

    def _reach(self, series: MessageSeries, seq: int, missing: str) -> bool:
        track = self._tracks.get(series) or self._begin(series)
        if seq <= track.highest:
            return False
        if seq > track.highest + 1:
            track.lose(missing, seq - track.highest - 1)
        track.highest = seq
        self._changed.add(series)
        return True

    def leave_out(self, series: MessageSeries, seq: int) -> None:
        """Skip all missing numbers before ``seq``: nobody knows which of them the engine has used.

        If the supervisor knows it, `close` has counted them before.
        """
        track = self._tracks.get(series) or self._begin(series)
        if (missing := seq - 1 - track.highest) > 0:
            if track.highest == 0:
                track.skipped_first = missing
            track.lose(LEFT_OUT, missing)
            track.highest = seq - 1
            self._changed.add(series)

    def stored(self, series: MessageSeries, seq: int) -> None:
        """Mark a message as stored on the disk: it is pending, and safe."""
        self._tracks[series].open.pop(seq, None)
        self.settled += 1

    def delivered(self, series: MessageSeries, seq: int, size: int) -> None:
        """Count a pending message as delivered: the broker has acknowledged it."""
        self._end(series, seq, size).delivered += 1

    def lost(self, series: MessageSeries, seq: int, size: int, reason: str) -> None:
        """Count a pending message as lost."""
        self._end(series, seq, size).lose(reason)

    def _end(self, series: MessageSeries, seq: int, size: int) -> SeriesCounts:
        track = self._tracks[series]
        track.open.pop(seq, None)
        track.pending -= 1
        track.bytes = max(0, track.bytes - size)  # `lose_some` knows only the average size
        self._changed.add(series)
        self.settled += 1
        return track

    # Acknowledgements for the engine

    def safe(self) -> list[Acked]:
        """Return the numbers that have become safe and that the engine does not know yet (see `told`)."""
        self.settled = 0
        return [
            Acked(series.pipeline, series.boot, series.kind, track.safe, min(track.lost.total(), MOST))
            for series, track in self._tracks.items()
            if track.safe > track.told
        ]

    def told(self, acked: Acked) -> None:
        """Record that the engine has received this acknowledgement."""
        if track := self._tracks.get(MessageSeries(acked.pipeline, acked.boot, acked.kind)):
            track.told = acked.seq

    # Contents of the file, and changes to write

    def restore(self, rows: Iterable[SeriesRow]) -> None:
        """Add the counts of the file.

        They precede the counts of a series that this process began before it could read the file.
        """
        for row in rows:
            track = self._tracks.get(row.series)
            if track is None:
                track = self._tracks[row.series] = SeriesCounts(row.upto, told=row.upto, resumed=False)
                self._tracks.move_to_end(row.series, last=False)
            else:
                self._changed.add(row.series)
                track.lost[UNKNOWN] = max(0, track.lost[UNKNOWN] - sum(row.lost.values()))
                track.lost[LEFT_OUT] -= min(row.upto, track.skipped_first)
                track.unrecorded = track.skipped_first = 0
            track.closed |= row.closed
            track.pending += row.waiting
            track.bytes += row.bytes
            for reason, count in row.lost.items():
                track.lose(reason, count)
            track.balance()

    def begun(self) -> dict[MessageSeries, int]:
        """Return the start number of each series that is not closed, for a file that is opened only now.

        The engine has resent, or will resend, every message above this number.
        """
        resumed = {series: track for series, track in self._tracks.items() if series.boot in self._recent}
        return {series: track.begun for series, track in resumed.items() if not track.closed}

    def lose_stored(self, here: Iterable[Entry]) -> None:
        """Count stored messages as lost (``corrupt``), because the file is gone.

        Only the entries ``here``, which are in memory, are left.
        """
        counts, sizes = Counter[MessageSeries](), Counter[MessageSeries]()
        for entry in here:
            counts[entry.series] += 1
            sizes[entry.series] += entry.size
        for series, track in self._tracks.items():
            if track.pending > counts[series]:
                track.lose("corrupt", track.pending - counts[series])
                track.pending = counts[series]
            track.bytes = sizes[series]

    def lose_some(self, place: Place, missing: int, here: Iterable[Entry]) -> None:
        """Count ``missing`` messages of a place as lost (``corrupt``): the file should contain them and does not.

        The entries ``here`` are in memory.
        """
        counts = Counter(entry.series for entry in here)
        for series, track in self._tracks.items():
            if series.place == place and (share := min(missing, track.pending - counts[series])) > 0:
                track.bytes = max(0, track.bytes - share * (track.bytes // track.pending))
                track.pending -= share
                track.lose("corrupt", share)
                self._changed.add(series)
                missing -= share

    def without_file(self) -> None:
        """Count the ``unrecorded`` numbers as lost (``unknown``).

        The file of earlier processes cannot be read, so it is not known whether they were delivered. From now on the
        ledger also counts such numbers as lost when an engine reports them.
        """
        self._without_file = True
        for series, track in self._tracks.items():
            self._lose_unrecorded(series, track)

    def _lose_unrecorded(self, series: MessageSeries, track: SeriesCounts) -> None:
        if track.unrecorded:
            track.lose(UNKNOWN, track.unrecorded)
            track.delivered, track.unrecorded = max(0, track.delivered - track.unrecorded), 0
            self._changed.add(series)

    def changes(self) -> tuple[tuple[SeriesRow, ...], tuple[MessageSeries, ...]]:
        """Return the series that changed since the last commit, and those that were merged into the total of old ones.

        Newer series come later.

        The counts are right only if the same commit writes all open messages to the disk.
        """
        rows = tuple(self._row(series, track) for series, track in self._tracks.items() if series in self._changed)
        return rows, tuple(self._forgotten)

    def committed(self, rows: Iterable[SeriesRow], forgotten: tuple[MessageSeries, ...]) -> None:
        """Mark these changes as written. A series that has changed again goes into the next commit."""
        for row in rows:
            track = self._tracks.get(row.series)
            if track is not None and self._row(row.series, track) == row:
                self._changed.discard(row.series)
        self._changed &= self._tracks.keys()
        del self._forgotten[: len(forgotten)]

    @property
    def changed(self) -> bool:
        """Whether there are changes for the next commit."""
        return bool(self._changed or self._forgotten)

    def everything_changed(self) -> None:
        """Mark every series as changed: the next commit goes into an empty file."""
        self._changed = set(self._tracks)

    def _row(self, series: MessageSeries, track: SeriesCounts) -> SeriesRow:
        lost = {reason: count for reason, count in track.lost.items() if count}
        return SeriesRow(series, track.highest, track.pending, track.bytes, track.closed, lost)

    # Totals

    def waiting(self) -> dict[MessageSeries, int]:
        """Return the number of pending messages of each series."""
        return {series: track.pending for series, track in self._tracks.items() if track.pending}

    def tracks(self) -> dict[MessageSeries, SeriesCounts]:
        """Return every series; callers must not change them."""
        return dict(self._tracks)

    def sums(self) -> tuple[int, int, int, int, dict[str, int]]:
        """Return produced, pending, pending bytes, delivered, and lost by reason.

        Messages that the engine keeps are pending, too. Numbers that were skipped on purpose count nowhere.
        """
        produced = pending = size = delivered = 0
        lost: Counter[str] = Counter()
        for track in self._tracks.values():
            kept = max(0, track.given - track.highest)
            produced += track.highest + kept
            pending += track.pending + kept
            size += track.bytes
            delivered += track.delivered
            lost.update(track.lost)
        produced -= lost.pop(LEFT_OUT, 0)
        told = {reason: min(count, MOST) for reason, count in lost.items() if count}
        return min(produced, MOST), min(pending, MOST), min(size, MOST), min(delivered, MOST), told

    def _begin(self, newer: MessageSeries) -> SeriesCounts:
        """Start a series.

        At the limit, merge one of an ended engine into the total: years of boots need no separate counts.
        """
        if len(self._tracks) >= MOST_SERIES:
            self._fold()
        track = self._tracks[newer] = SeriesCounts()
        return track

    def _fold(self) -> None:
        ended = (
            series
            for series, track in self._tracks.items()
            if track.closed and not track.pending and series.boot not in self._recent and series.pipeline != OLDER
        )
        series = next(ended, None)
        if series is None:  # an open one must stay, or its numbers could be used again
            return
        track = self._tracks.pop(series)
        older = MessageSeries(OLDER, OLDER, series.kind)
        total = self._tracks.setdefault(older, SeriesCounts(closed=True))
        total.highest = min(total.highest + track.highest, MOST)
        total.told = total.highest
        total.delivered = min(total.delivered + track.delivered, MOST)
        for reason, count in track.lost.items():
            total.lose(reason, count)
        self._changed.discard(series)
        self._changed.add(older)
        self._forgotten.append(series)
