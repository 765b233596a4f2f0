"""What became of every number: produced = delivered + pending + lost, by pipeline, boot and kind, over restarts."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from edge_infer.messages import MOST
from edge_infer.publisher.database import SeriesRow
from edge_infer.publisher.series import Entry, Series
from edge_infer.publisher.topics import Place
from edge_infer.rooms import Acked, Tally

log = logging.getLogger(__name__)

MOST_SERIES: Final = 1024
"""Series that are told apart; what older ones amount to is kept as one. An honest engine needs far fewer."""
UNKNOWN: Final = "unknown"
"""Lost or not: it was numbered, and whoever knew more has died."""
OLDER: Final = ""
"""Pipeline and boot of what old series amount to."""


@dataclass(slots=True)
class Track:
    """One series. ``open`` numbers were taken and are neither safe nor lost; ``told`` is what the engine knows of.

    ``resumed``: what was told before this process began has been heard from the engine. Numbers up to ``begun`` were
    before this process; ``unrecorded`` of them count as delivered on the word of the engine alone, no file says so.
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
    lost: Counter[str] = field(default_factory=Counter)
    open: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def safe(self) -> int:
        """Every number up to this one is safe or lost: the engine need not keep it."""
        return next(iter(self.open)) - 1 if self.open else self.highest

    def lose(self, reason: str, count: int = 1) -> None:
        """Counts a loss."""
        self.lost[reason] = min(self.lost[reason] + count, MOST)

    def balance(self) -> None:
        """What is neither pending nor lost was delivered; what cannot be was not unknown after all."""
        self.delivered = self.highest - self.pending - self.lost.total()
        if self.delivered < 0:
            self.lost[UNKNOWN] = max(0, self.lost[UNKNOWN] + self.delivered)
            self.delivered = 0


class Account:
    """Takes each number once, and knows what is still open. Changes are collected for the next commit."""

    def __init__(self) -> None:
        self._tracks: OrderedDict[Series, Track] = OrderedDict()
        self._changed: set[Series] = set()
        self._forgotten: list[Series] = []

    # What the engine and the supervisor say

    def resume(self, boot: str, tallies: Iterable[Tally]) -> None:
        """Where the numbers of this boot start for a publisher that has taken none of them yet."""
        for tally in tallies:
            series = Series(tally.pipeline, boot, tally.kind)
            track = self._tracks.get(series)
            if track is None:
                track = self._begin(series)
                track.begun, track.unrecorded = tally.safe, max(0, tally.safe - tally.lost)
            elif track.resumed:
                continue
            self._go_on(series, track, tally)

    def _go_on(self, series: Series, track: Track, tally: Tally) -> None:
        """Numbers that the engine knows to be safe, and the file does not, have been delivered or lost meanwhile."""
        track.told, track.resumed = tally.safe, True
        if tally.safe > track.highest:
            further = tally.safe - track.highest
            track.lose(UNKNOWN, min(further, max(0, tally.lost - track.lost.total())))
            track.highest = tally.safe
            track.balance()
            self._changed.add(series)

    def report(self, boot: str, tallies: Iterable[Tally]) -> None:
        """How far the engine has numbered: what is not taken yet is pending, too."""
        for tally in tallies:
            if track := self._tracks.get(Series(tally.pipeline, boot, tally.kind)):
                track.given = max(track.given, tally.given)

    def close(self, boot: str, tallies: Iterable[Tally]) -> None:
        """No more numbers come of this boot: those that were given and never came are lost or not, who knows."""
        self.resume(boot, tallies)
        for tally in tallies:
            track = self._tracks[Series(tally.pipeline, boot, tally.kind)]
            if tally.given > track.highest and not track.closed:
                track.lose(UNKNOWN, tally.given - track.highest)
                track.highest = tally.given
        for series, track in self._tracks.items():
            if series.boot == boot and not track.closed:
                track.closed, track.given = True, 0
                self._changed.add(series)

    def close_others(self, boots: Iterable[str]) -> None:
        """Boots that ended while nobody was there to hear how: they are over, and what they gave is all we know."""
        for series, track in self._tracks.items():
            if series.boot not in boots and not track.closed:
                log.warning(
                    "the engine's boot %s ended without a word: what became of %ss of %s after number %d is not known",
                    series.boot, series.kind, series.pipeline, track.highest,
                )  # fmt: skip
                track.closed = True
                self._changed.add(series)

    def highest(self, series: Series) -> int:
        """The highest number that is known; 0 for none."""
        track = self._tracks.get(series)
        return track.highest if track else 0

    # What happens to messages

    def take(self, series: Series, seq: int, size: int, missing: str) -> bool:
        """A number comes; False when it came before. Numbers left out before it are lost for the reason ``missing``."""
        if not self._reach(series, seq, missing):
            return False
        track = self._tracks[series]
        track.open[seq] = None
        track.pending += 1
        track.bytes += size
        return True

    def lose(self, series: Series, seq: int, reason: str, missing: str) -> None:
        """A number comes, and its message cannot be kept."""
        if self._reach(series, seq, missing):
            self._tracks[series].lose(reason)

    def _reach(self, series: Series, seq: int, missing: str) -> bool:
        track = self._tracks.get(series) or self._begin(series)
        if seq <= track.highest:
            return False
        if seq > track.highest + 1:
            track.lose(missing, seq - track.highest - 1)
        track.highest = seq
        self._changed.add(series)
        return True

    def stored(self, series: Series, seq: int) -> None:
        """The disk has it: pending, and safe."""
        self._tracks[series].open.pop(seq, None)

    def delivered(self, series: Series, seq: int, size: int) -> None:
        """The broker has it."""
        self._end(series, seq, size).delivered += 1

    def lost(self, series: Series, seq: int, size: int, reason: str) -> None:
        """It waited, and does so no longer."""
        self._end(series, seq, size).lose(reason)

    def _end(self, series: Series, seq: int, size: int) -> Track:
        track = self._tracks[series]
        track.open.pop(seq, None)
        track.pending -= 1
        track.bytes -= size
        self._changed.add(series)
        return track

    # What the engine is told

    def safe(self) -> list[Acked]:
        """What has become safe and was not `told` yet."""
        return [
            Acked(series.pipeline, series.boot, series.kind, track.safe, min(track.lost.total(), MOST))
            for series, track in self._tracks.items()
            if track.safe > track.told
        ]

    def told(self, acked: Acked) -> None:
        """The engine has been told."""
        if track := self._tracks.get(Series(acked.pipeline, acked.boot, acked.kind)):
            track.told = acked.seq

    # What the file says, and what goes into it

    def restore(self, rows: Iterable[SeriesRow]) -> None:
        """What the file knows. Of a series that began here before the file could be read, it knows the beginning."""
        for row in rows:
            track = self._tracks.get(row.series)
            if track is None:
                track = self._tracks[row.series] = Track(row.upto, told=row.upto, resumed=False)
                self._tracks.move_to_end(row.series, last=False)
            else:
                self._changed.add(row.series)
                track.lost[UNKNOWN] = max(0, track.lost[UNKNOWN] - sum(row.lost.values()))
                track.unrecorded = 0
            track.closed |= row.closed
            track.pending += row.waiting
            track.bytes += row.bytes
            track.lost.update(row.lost)
            track.balance()

    def begun(self) -> dict[Series, int]:
        """Series that are here before the file is read; what it has above these numbers has been, or will be, said
        again."""
        return {series: track.begun for series, track in self._tracks.items() if not track.closed}

    def lose_stored(self, here: Iterable[Entry]) -> None:
        """The file is gone: these entries are all that is left."""
        counts, sizes = Counter[Series](), Counter[Series]()
        for entry in here:
            counts[entry.series] += 1
            sizes[entry.series] += entry.size
        for series, track in self._tracks.items():
            if track.pending > counts[series]:
                track.lose("corrupt", track.pending - counts[series])
                track.pending = counts[series]
            track.bytes = sizes[series]

    def lose_some(self, place: Place, missing: int, here: Iterable[Entry]) -> None:
        """So many of a place that should be in the file are not; these entries are in memory."""
        counts = Counter(entry.series for entry in here)
        for series, track in self._tracks.items():
            if series.place == place and (share := min(missing, track.pending - counts[series])) > 0:
                track.bytes = max(0, track.bytes - share * (track.bytes // track.pending))
                track.pending -= share
                track.lose("corrupt", share)
                self._changed.add(series)
                missing -= share

    def without_file(self) -> None:
        """What was on the disk before us cannot be read: nobody knows what of it was delivered."""
        for series, track in self._tracks.items():
            if track.unrecorded:
                track.lose(UNKNOWN, track.unrecorded)
                track.delivered, track.unrecorded = max(0, track.delivered - track.unrecorded), 0
                self._changed.add(series)

    def changes(self) -> tuple[tuple[SeriesRow, ...], tuple[Series, ...]]:
        """The series that changed since the last commit, as they are once everything open is on the disk; and those
        that are part of what older ones amount to now."""
        rows = tuple(self._row(series, self._tracks[series]) for series in self._changed if series in self._tracks)
        return rows, tuple(self._forgotten)

    def committed(self, rows: Iterable[SeriesRow], forgotten: tuple[Series, ...]) -> None:
        """These changes are on the disk; what has changed again since goes with the next commit."""
        for row in rows:
            track = self._tracks.get(row.series)
            if track is not None and self._row(row.series, track) == row:
                self._changed.discard(row.series)
        self._changed &= self._tracks.keys()
        del self._forgotten[: len(forgotten)]

    @property
    def changed(self) -> bool:
        """Whether there is something for the next commit."""
        return bool(self._changed or self._forgotten)

    def everything_changed(self) -> None:
        """The next commit goes into an empty file."""
        self._changed = set(self._tracks)

    def _row(self, series: Series, track: Track) -> SeriesRow:
        lost = {reason: count for reason, count in track.lost.items() if count}
        return SeriesRow(series, track.highest, track.pending, track.bytes, track.closed, lost)

    # Sums

    def waiting(self) -> dict[Series, int]:
        """Messages that were taken and are pending, by series."""
        return {series: track.pending for series, track in self._tracks.items() if track.pending}

    def tracks(self) -> dict[Series, Track]:
        """Every series; not to be changed."""
        return dict(self._tracks)

    def sums(self) -> tuple[int, int, int, int, dict[str, int]]:
        """Produced, pending, bytes that wait, delivered, lost by reason. What the engine keeps is pending, too."""
        produced = pending = size = delivered = 0
        lost: Counter[str] = Counter()
        for track in self._tracks.values():
            kept = max(0, track.given - track.highest)
            produced += track.highest + kept
            pending += track.pending + kept
            size += track.bytes
            delivered += track.delivered
            lost.update(track.lost)
        told = {reason: min(count, MOST) for reason, count in lost.items() if count}
        return min(produced, MOST), min(pending, MOST), min(size, MOST), min(delivered, MOST), told

    def _begin(self, newer: Series) -> Track:
        """Names without end come from no honest engine, and years of boots need not be told apart."""
        if len(self._tracks) >= MOST_SERIES:
            self._fold()
        track = self._tracks[newer] = Track()
        return track

    def _fold(self) -> None:
        idle = [s for s, track in self._tracks.items() if not track.pending and s.pipeline != OLDER]
        ended = next((series for series in idle if self._tracks[series].closed), None)
        series = ended or next(iter(idle), None)
        if series is None:
            return
        track = self._tracks.pop(series)
        older = Series(OLDER, OLDER, series.kind)
        total = self._tracks.setdefault(older, Track(closed=True))
        total.highest = min(total.highest + track.highest, MOST)
        total.told = total.highest
        total.delivered = min(total.delivered + track.delivered, MOST)
        for reason, count in track.lost.items():
            total.lose(reason, count)
        self._changed.discard(series)
        self._changed.add(older)
        self._forgotten.append(series)
