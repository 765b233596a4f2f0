"""The reader's process. The main thread reads the source; a second thread reports to the supervisor."""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from edge_infer.errors import EdgeInferError, SourceError, WireError, shortened
from edge_infer.frames.pixels import Orientation
from edge_infer.frames.timing import Pacer
from edge_infer.ipc.channel import Channel, ChannelClosedError
from edge_infer.ipc.messages import ENDED, ProcessUse, ReaderReport, SetLogLevel
from edge_infer.plan.credentials import without_passwords
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.event_loop import readable
from edge_infer.platform.logs import set_level
from edge_infer.platform.process_use import OwnUse
from edge_infer.readers.frame_slots import TO_READER, SlotWriter
from edge_infer.readers.sample_stream import ROOM_SECONDS, TO_STREAM_READER, StreamWriter
from edge_infer.readers.sources import Passed, Picture, Reading, Source, first, make_source, selects
from edge_infer.readers.sources.byte_input import no_pipe
from edge_infer.readers.sources.faults import settle_all
from edge_infer.sandbox.fence import Identity, identities
from edge_infer.sandbox.selftest import ENFORCED

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
CALM: Final = 10.0
"""Seconds that a source must run and give frames before the back-off is reset."""
TICK: Final = 0.1
"""Seconds between two polls of the channels while there is nothing to read."""
LAST_MOMENT: Final = 0.1
"""Seconds in which the source may close after SIGTERM. Then the process exits, and the kernel releases the device."""
LAST_READINGS: Final = 0.15
"""Seconds after SIGTERM in which the engine may finish the last readings of a pipe, before the source closes."""


class Writer(Protocol):
    """Interface of writers of readings: `SlotWriter` for pictures, `StreamWriter` for samples and lines."""

    frames: int
    greetings: int
    looks: float | None

    def poll(self) -> None:
        """Handle the pending records of the engine."""

    def write(self, reading: Any) -> bool:
        """Pass a reading to the engine; return whether the engine's queue had space for it."""

    def trouble(self, text: str, *, ended: bool = False) -> bool:
        """Report why there are no readings; return whether the report was sent."""

    def close(self) -> None:
        """Close the channel."""


class Progress:
    """Activity of the reader, reported to the supervisor.

    The reading thread updates this object; the reporting thread reads it.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.frames = 0
        self.error = ""
        self._until: float | None = None
        self._own_use = OwnUse()

    @contextmanager
    def call(self, patience: float = 0.0) -> Iterator[None]:
        """Mark a call into a device that may normally take ``patience`` seconds."""
        self._until = time.monotonic() + patience
        try:
            yield
        finally:
            self._until = None

    def report(self) -> ReaderReport:
        """Return the current report."""
        until = self._until
        busy = 0.0 if until is None else max(0.0, time.monotonic() - until)
        return ReaderReport(round(busy, 3), self.frames, self.error, self.room.walls, ProcessUse(*self._own_use.read()))


class SourceReader:
    """Opens the source, sends its frames, and reopens it after a failure, until it is stopped."""

    def __init__(self, plan: SourcePlan, writer: Writer, progress: Progress, stop: threading.Event) -> None:
        self._plan = plan
        self._writer = writer
        self._progress = progress
        self._stop = stop
        self._pacer = Pacer(plan.fps)
        self._failures = 0
        self._frames_before = 0

    def run(self) -> None:
        """Run until stopped; raises `ChannelClosedError` when the other end of the frames channel is closed."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._read_all(make_source(self._plan))
            except ChannelClosedError:
                raise
            except EdgeInferError as error:
                self._retry(str(error), began)
            except Exception as error:  # noqa: BLE001 - drivers, decoders and plug-ins may raise anything
                log.error("source failed: unexpected exception\n%s", without_passwords(traceback.format_exc()))  # noqa: TRY400
                self._retry(f"unexpected {type(error).__name__}: {without_passwords(str(error))}", began)

    def _read_all(self, source: Source) -> None:
        progress, writer = self._progress, self._writer
        patience = float(getattr(source, "patience", 0.0))
        try:
            if isinstance(writer, SlotWriter) and hasattr(source, "place"):
                source.place = writer.place
            elif isinstance(writer, StreamWriter):
                writer.room_seconds = getattr(source, "room_seconds", ROOM_SECONDS)
                writer.follow(getattr(source, "faults", None))
            if self._plan.holds_writer and not source.live:
                raise SourceError(no_pipe(str(self._plan.options.get("file", ""))))
            chosen = selects(source, self._pacer.due)
            with progress.call():
                source.__enter__()
            if isinstance(writer, StreamWriter) and hasattr(source, "away"):
                writer.attend(lambda: source.away)
                writer.tell_counts()
            fresh = True
            while not self._stop.is_set():
                with progress.call(patience):
                    reading = source.read()
                if reading is None:
                    break
                progress.error = ""
                if not isinstance(reading, Passed) and (chosen or self._wanted(reading)):
                    writer.write(first(reading) if fresh else reading)
                    progress.frames = writer.frames
                    self._pacer.restrain(writer.looks)
                fresh = False
            if self._stop.is_set() and isinstance(writer, StreamWriter) and self._plan.holds_writer:
                self._finish(source, writer)
        finally:
            if isinstance(writer, StreamWriter):
                writer.attend(None)
            with progress.call():
                source.close()
        self._rest(ENDED, ended=True)

    def _finish(self, source: Source, writer: StreamWriter) -> None:
        """Pass on the readings that the source has already taken from its pipe: no other reader will get them."""
        if hasattr(source, "finish"):
            source.finish()
            while (reading := source.read()) is not None:
                if not isinstance(reading, (Passed, Picture)):
                    writer.write(reading)
        writer.await_finished()

    def _wanted(self, reading: Reading) -> bool:
        return self._pacer.due(reading.monotonic) or not isinstance(reading, Picture)

    def _retry(self, text: str, began: float) -> None:
        """Wait before the next attempt. The time since the failed attempt began counts towards the back-off."""
        text, lasted = self._plan.shown(text), time.monotonic() - began
        if lasted > CALM and self._progress.frames > self._frames_before:
            self._failures = 0
        self._frames_before = self._progress.frames
        pause = min(FIRST_PAUSE * 2 ** min(self._failures, 8), LONGEST_PAUSE)
        self._failures += 1
        log.debug("no frames: %s", text)
        if self._progress.room.outdated():
            log.info(
                "stopping: the files of the source were replaced, and the sandbox of this reader admits only the old "
                "ones; a new reader takes over"
            )
            self._stop.set()
        wait = max(pause - lasted, FIRST_PAUSE) * random.uniform(0.6, 1.0)  # noqa: S311 - jitter, no secret
        self._rest(text, until=time.monotonic() + wait)

    def _rest(self, text: str, *, ended: bool = False, until: float = float("inf")) -> None:
        """Send the reason for missing frames to each engine that attaches, until ``until`` or until stopped."""
        self._progress.error = shortened(text)
        told = -1
        while not self._stop.is_set() and time.monotonic() < until:
            self._writer.poll()
            if told != self._writer.greetings and self._writer.trouble(text, ended=ended):
                told = self._writer.greetings
            self._stop.wait(TICK)


class Reporter(threading.Thread):
    """Reports once per second, and ends the process in time even if the reading thread hangs."""

    def __init__(
        self, control: Channel, signals: int, progress: Progress, writer: Writer, stop: threading.Event
    ) -> None:
        super().__init__(name="report", daemon=True)
        self._writer = writer
        self._control = control
        self._signals = signals
        self._progress = progress
        self._stopping = stop

    def run(self) -> None:
        """End the process at once when the supervisor is gone, and soon after SIGTERM."""
        due = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + 1.0
                self._say()
                settle_all()
            # Counts of dropped readings, and readings for a new engine, are sent even while the source blocks.
            sent = not isinstance(self._writer, StreamWriter) or self._writer.tell_counts()
            rest = max(0.0, due - time.monotonic()) if sent else TICK
            ready = readable([self._control.fd, self._signals], timeout=rest)
            if self._control.fd in ready:
                self._hear()
            if self._signals in ready:
                self._stopping.set()
        settle_all(math.inf)  # the reading thread may wait for a message that never comes
        # The process usually ends earlier, together with the reading thread.
        time.sleep(LAST_MOMENT + (LAST_READINGS if isinstance(self._writer, StreamWriter) else 0.0))
        os._exit(0)

    def _say(self) -> None:
        try:
            self._control.send(self._progress.report())
        except ChannelClosedError:
            os._exit(0)

    def _hear(self) -> None:
        try:
            if (word := self._control.receive()) is not None:
                set_level(word.level)
        except ChannelClosedError:
            os._exit(0)
        except WireError as error:
            log.warning("invalid record from the supervisor: %s", error)


def run(plan: SourcePlan, control_fd: int, frames_fd: int, room: Room) -> int:
    """Read one source until SIGTERM or until the supervisor is gone; return the exit code."""
    stop, progress = threading.Event(), Progress(room)
    pictures = plan.gives == "image"
    channel = Channel(frames_fd, TO_READER if pictures else TO_STREAM_READER)
    writer: Writer = (
        SlotWriter(channel, Orientation(plan.rotate, plan.flip))
        if pictures
        else StreamWriter(channel, holds_writer=plan.holds_writer)
    )

    def end(_number: int, _frame: object) -> None:
        if isinstance(writer, StreamWriter):
            writer.hurry(time.monotonic() + LAST_READINGS)
        stop.set()

    signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the supervisor stops all processes in order
    Reporter(Channel(control_fd, (SetLogLevel,)), signals, progress, writer, stop).start()
    try:
        SourceReader(plan, writer, progress, stop).run()
    except ChannelClosedError:
        log.info("the engine closed the frame channel; stopping the reader")
    finally:
        settle_all(math.inf)
        writer.close()
    return 0


# The sandbox of a reader, and whether it still fits the files of the source.


@dataclass(frozen=True, slots=True)
class Room:
    """The sandbox of a reader.

    ``walls`` has the state of each rule of the sandbox. ``places`` are the paths of the source, and ``were`` the
    identities of the files to which those paths led at the start.
    """

    walls: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    were: frozenset[Identity] = frozenset()

    def outdated(self) -> bool:
        """Return whether the sandbox may block the source, because its paths now lead to other files than at the start.

        The source is then another file or device, which the sandbox rules do not include.
        """
        return self.walls.get("files", "").startswith(ENFORCED) and not identities(self.places) <= self.were
