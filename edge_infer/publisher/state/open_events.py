"""Open events: those that began and have not ended. They are remembered even if a process dies."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from edge_infer.contract.codec import ABSENT, Absent, Record, at_most, decode_json, dumps, replace
from edge_infer.contract.messages import MAX_SKIPPED, Boot, Event, EventType, Name, Number, Reason, timestamp
from edge_infer.contract.messages import MOST as MAX_NUMBER
from edge_infer.errors import WireError
from edge_infer.ipc.crash_safe_note import CrashSafeNote
from edge_infer.ipc.messages import EventHandover, Handover
from edge_infer.platform.clock import of_this_kernel, uptime
from edge_infer.platform.rate_limits import ByteBucket
from edge_infer.publisher.json_file import JsonFile
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.timestamps import date, seconds

# Notes of open events. They are in memory that outlives the processes, and are written to a file on the card from time
# to time.

log = logging.getLogger(__name__)

FILE: Final = "open-events.json"
MOST: Final = 2048
"""Maximum number of remembered events; the oldest are dropped first. An engine opens at most 256 events per
pipeline."""
MOST_BYTES: Final = 30 << 20
WRITE_EVERY: Final = 20.0
"""Minimum seconds between two writes of the file. After a power cut, events that began after the last write get no end
event."""
WEAR: Final = 200
"""Average bytes per second that the file may write to the card (17 MB a day). With constant events or a large file,
writes are less frequent."""
PAGE: Final = 4096
AROUND: Final = 4
"""Additional pages that writing a new file costs: for its folder, inodes and the free-space map (ext4, measured)."""
SAVED: Final = 2
"""Number of writes of a small file that may directly follow each other after a pause."""


class Last(Record, frozen=True):
    """The highest event number of a pipeline in a boot (the run of one engine)."""

    pipeline: Name
    boot: Boot
    seq: Number


class Ended(Record, frozen=True):
    """A begin event, and the number of its end event, which neither the broker nor the disk has yet."""

    begun: EventHandover
    seq: Number


class Noted(Record, frozen=True):
    """The begin events of open events, the highest numbers of their boots, and end events that are not safe yet.

    An end event is safe when the broker or the disk has it. ``exact``: nothing has happened since the notes were
    written. Otherwise every event without a safe end is listed as open.
    """

    begun: Annotated[tuple[EventHandover, ...], at_most(MOST)] = ()
    last: Annotated[tuple[Last, ...], at_most(MOST)] = ()
    ended: Annotated[tuple[Ended, ...], at_most(MOST)] = ()
    exact: bool = False


class EventNotes:
    """Reads the notes of an earlier process, and writes those for the next process."""

    def __init__(self, slate: CrashSafeNote | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._slate = slate
        self._clock = clock
        self._file = JsonFile(Noted, FILE, MOST_BYTES, "events that are open now may stay open at the broker")
        self._write_at = -math.inf
        self.in_memory = False  # whether the notes were read from memory: the file may have older ones
        self._wear = ByteBucket(WEAR, clock, burst=SAVED * (1 + AROUND) * PAGE / WEAR)

    def read(self, folder: Path) -> Noted:
        """Return the notes: from memory if only the publisher has died, otherwise from the file."""
        if self._slate is not None and (noted := self._slate.read()) is not None:
            self.in_memory = True
            try:
                return decode_json(Noted, noted)
            except WireError as error:
                log.warning("cannot read the open events of the previous publisher, using those in the file: %s", error)
        return self._file.read(folder) or Noted()

    def keep(self, noted: bytes) -> None:
        """Write the notes to shared memory, if there is any; it does not wear."""
        if self._slate is not None:
            with suppress(ValueError):  # too many events to fit; the file has them
                self._slate.write(noted)

    @property
    def due(self) -> bool:
        """Whether the file may be written again."""
        return self._clock() >= self._write_at and not self._wear.pause()

    def file(self, folder: Path, noted: bytes, *, last: bool = False) -> bool:
        """Write the file, whether due or not; return False on failure. With ``last`` the process ends."""
        if self.due:
            self._wear.take((math.ceil(len(noted) / PAGE) + AROUND) * PAGE)
        self._write_at = self._clock() + WRITE_EVERY
        return self._file.put(folder, noted, last=last)


# Tracking of open events, which continues when the engine dies.

AHEAD: Final = MAX_SKIPPED
"""Maximum number of event numbers of a boot between two writes of the file. At this number the file is written, due or
not. A process that continues from the file skips this many numbers. Otherwise subscribers would take an end event with
a known number for a duplicate. The next event reports the gap (``skipped``)."""
_ENDS: Final[dict[EventType, EventType]] = {"appear": "leave", "enter": "exit", "start": "end", "drift": "drift_end"}
_BEGINS: Final = {end: begin for begin, end in _ENDS.items()}

_Key: TypeAlias = tuple[str, str, EventType, object, object, object]


@dataclass(slots=True)
class _Begun:
    """An open event.

    ``ended`` is the sequence number of its end event while that event is not safe; 0 without an end event. ``heard``:
    an earlier process received that end event.
    """

    handover: EventHandover
    packed: bytes
    ended: int = 0
    heard: bool = False

    @property
    def series(self) -> MessageSeries:
        return MessageSeries(self.handover.pipeline, self.handover.message.boot, "event")


class OpenEvents:
    """Tracks every received event, and ends the events that a dead engine has left open.

    A begin event is noted before it is sent, and forgotten once its end event is safe. So a kill cannot separate the
    two.
    """

    def __init__(self, notes: EventNotes | None = None) -> None:
        self._notes = notes or EventNotes()
        self._folder: Path | None = None
        self._begun: dict[_Key, _Begun] = {}
        self._last: dict[MessageSeries, int] = {}
        self._certain: dict[MessageSeries, int] = {}  # last certain number of series whose next event skips some
        self._filed: dict[MessageSeries, int] = {}
        self._to_note = self._to_file = self._run_away = False

    def load(self, folder: Path) -> None:
        """Load the notes of an earlier process. Events that are already known stay."""
        if self._folder is not None:
            return
        self._folder = folder
        noted = self._notes.read(folder)
        for last in noted.last:
            series = MessageSeries(last.pipeline, last.boot, "event")
            self._last.setdefault(series, last.seq if noted.exact else min(last.seq + AHEAD, MAX_NUMBER))
            if not noted.exact:
                self._certain.setdefault(series, last.seq)
        for handover in noted.begun:
            self._remember(handover)
        for end in noted.ended:
            self._remember(end.begun, end.seq)
        self._to_file = self._notes.in_memory

    def _remember(self, handover: EventHandover, ended: int = 0) -> None:
        """Load one note. A note that is not a begin event has no end event, so it is dropped."""
        if handover.message.type not in _ENDS:
            return
        begun = _Begun(handover, dumps(handover), ended, heard=True)
        self._begun.setdefault(_key(handover.pipeline, handover.message), begun)
        self._last.setdefault(begun.series, handover.message.seq)

    def begun(self) -> tuple[EventHandover, ...]:
        """Return the begin events of all events that are open or have no safe end event yet."""
        return tuple(begun.handover for begun in self._begun.values())

    def is_open(self, pipeline: str, event: Event) -> bool:
        """Return whether the begin event of this event is known and its end event has not been seen yet.

        An end event that an earlier process received, and that comes again, has not been seen. The same event may have
        begun and ended several times before.
        """
        begun = self._begun.get(_key(pipeline, event))
        return begun is not None and (not begun.ended or (begun.heard and event.seq <= begun.ended))

    def note(self, handover: Handover) -> None:
        """Record a received event; results are ignored."""
        if not isinstance(handover, EventHandover):
            return
        event = handover.message
        key, series = _key(handover.pipeline, event), MessageSeries(handover.pipeline, event.boot, "event")
        self._last[series] = max(event.seq, self._last.get(series, 0))
        self._certain.pop(series, None)
        self._to_note |= bool(self._begun)
        self._run_away |= self._last[series] - self._filed.get(series, self._last[series]) >= AHEAD
        if event.type in _ENDS:
            self._begun[key] = _Begun(handover, dumps(handover))
            self._to_note = self._to_file = True
            while len(self._begun) > MOST:
                del self._begun[next(iter(self._begun))]
        elif event.type in _BEGINS and (begun := self._begun.get(key)):
            begun.ended, begun.heard = event.seq, False

    def reached(self, pipeline: str, boot: str, seq: int) -> None:
        """Record a higher event number of a boot, which is known from elsewhere."""
        series = MessageSeries(pipeline, boot, "event")
        self._last[series] = max(seq, self._last.get(series, 0))
        if series in self._certain:
            self._certain[series] = max(seq, self._certain[series])

    def settle(self, series: MessageSeries, seq: int, *, heard: bool = False) -> None:
        """Forget events that ended with an event number up to ``seq``, because these are safe.

        With ``heard``, forget only events whose end event an earlier process received.
        """
        done = [
            key
            for key, begun in self._begun.items()
            if 0 < begun.ended <= seq and begun.series == series and begun.heard >= heard
        ]
        for key in done:
            del self._begun[key]
            self._to_note = self._to_file = True

    def end(self, reason: Reason, gone: Callable[[str], bool]) -> tuple[EventHandover, ...]:
        """Return end events for all open events of boots that are ``gone``; zones end before the objects in them.

        The caller must pass these events to `note`. If a boot has used up its sequence numbers, its events get no end
        event and are forgotten.
        """
        open_now = [
            (key, begun)
            for key, begun in self._begun.items()
            if gone(begun.series.boot) and (begun.heard or not begun.ended)
        ]
        open_now.sort(key=lambda found: found[1].handover.message.type != "enter")
        numbers, ends, endless = dict(self._last), [], Counter[MessageSeries]()
        for key, begun in open_now:
            series = begun.series
            before = numbers.get(series, begun.handover.message.seq)
            if before >= MAX_NUMBER:
                del self._begun[key]
                endless[begun.series] += 1
                continue
            first = series in self._certain and before == self._last.get(series)
            numbers[series] = before + 1
            ends.append(_ended(begun.handover, reason, before + 1, before - self._certain[series] if first else 0))
        for series, count in endless.items():
            log.warning(
                "pipeline %s: engine %s has used all its message numbers, so %d event(s) stay open at the broker",
                series.pipeline, series.boot, count,
            )  # fmt: skip
            self._to_note = self._to_file = True
        return tuple(ends)

    def finish(self) -> bool:
        """Write the file for the next process. No event of these boots follows, so the numbers and ends are exact.

        Return False on failure. The next process would then repeat end events that are already queued in the outbox.
        """
        if self._folder is not None and (self._begun or self._to_file):
            self._to_file = not self._notes.file(self._folder, self._noted(exact=True), last=True)
        return not self._to_file

    def save(self, *, now: bool = False) -> None:
        """Write changes to memory, and also to the file if a write is due or with ``now``."""
        if self._folder is None:
            return
        if self._to_note:
            self._notes.keep(self._noted(exact=True))
            self._to_note = False
        if self._run_away or (self._to_file and (now or self._notes.due)):
            boots = {begun.series for begun in self._begun.values()}
            self._filed = {series: seq for series, seq in self._last.items() if series in boots}
            self._last = {series: seq for series, seq in self._last.items() if series in boots or self._newest(series)}
            self._to_file = not self._notes.file(self._folder, self._noted(exact=False))
            self._run_away = False

    def _noted(self, *, exact: bool) -> bytes:
        """Return an encoded `Noted`. Its parts are encoded only once and then joined."""
        found = self._begun.values()
        boots = {begun.series for begun in found}
        last = [Last(series.pipeline, series.boot, self._last[series]) for series in boots]
        begun = b",".join(each.packed for each in found if not (exact and each.ended))
        parts = b'{"begun":[%b],"last":%b' % (begun, dumps(last))
        if exact:
            ends = b",".join(b'{"begun":%b,"seq":%d}' % (each.packed, each.ended) for each in found if each.ended)
            parts += b',"ended":[%b],"exact":true' % ends
        return parts + b"}"

    def _newest(self, series: MessageSeries) -> bool:
        """Whether no later boot of this pipeline is known."""
        return [known for known in self._last if known.pipeline == series.pipeline][-1] == series


def _ended(begun: EventHandover, reason: Reason, seq: int, skipped: int) -> EventHandover:
    event, now = begun.message, time.time()
    at = uptime() if begun.at is not None and of_this_kernel(event.boot) else None
    since = _since(begun, now, at)
    ended = replace(
        event, type=_ENDS[event.type], seq=seq, reason=reason, box=ABSENT, replay=ABSENT, skipped=skipped or ABSENT
    )
    return EventHandover(begun.pipeline, replace(ended, ts=timestamp(now), since=since), at)


def _since(begun: EventHandover, now: float, at: float | None) -> str | Absent:
    """Return the start time for the event that ends an event ``now``, at uptime ``at``.

    With ``at``, the duration counts in uptime, whatever the clock did. Return ABSENT for a date that cannot be correct:
    the clock was ahead, or the engine or the notes are faulty.
    """
    event = begun.message
    since = event.since
    try:
        lasted = 0.0 if since is ABSENT else seconds(event.ts) - seconds(since)
        if at is not None and begun.at is not None:
            since = date(max(0.0, now - (at - begun.at) - lasted))
    except WireError:
        return ABSENT
    return ABSENT if since is ABSENT or since > timestamp(now) else since


def events_of(handovers: Iterable[EventHandover]) -> Iterable[tuple[str, Event]]:
    """Yield the pipeline and the event of each handover."""
    return ((each.pipeline, each.message) for each in handovers)


def _key(pipeline: str, event: Event) -> _Key:
    """Return the key that the begin event and the end event of one event share."""
    begin = _BEGINS.get(event.type, event.type)
    subject = event.label if begin == "start" else event.kind
    return pipeline, event.boot, begin, event.id, event.zone, subject
