"""The reader's process: its main thread reads the source, a second one proves to the supervisor how long that takes."""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from edge_infer.channel import Channel, ChannelClosedError
from edge_infer.config.plan import SourcePlan
from edge_infer.errors import EdgeInferError, WireError, shortened
from edge_infer.readers.orient import Orientation
from edge_infer.readers.pacer import Pacer
from edge_infer.readers.room import Room
from edge_infer.readers.slots import TO_READER, SlotWriter
from edge_infer.readers.sources import Passed, Picture, Reading, Source, first, make_source, selects
from edge_infer.readers.sources.faults import settle_all
from edge_infer.readers.stream import ROOM_SECONDS, StreamWriter
from edge_infer.rooms import ReaderReport

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
CALM: Final = 10.0
"""Seconds that a source has to last, with frames, for earlier failures to be forgiven."""
TICK: Final = 0.1
"""Seconds between two looks at the channels while there is nothing to read."""
LAST_MOMENT: Final = 0.1
"""Seconds that the source gets to close after SIGTERM; what hangs is left to the kernel."""


class Writer(Protocol):
    """Where a reader puts what it read; `SlotWriter` for pictures, `StreamWriter` for samples and lines."""

    frames: int
    greetings: int
    looks: float | None

    def poll(self) -> None: ...

    def write(self, reading: Any) -> bool: ...

    def trouble(self, text: str, *, ended: bool = False) -> bool: ...

    def close(self) -> None: ...


class Progress:
    """What the reader does now, for its supervisor: written by the reading thread, read by the reporting one."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.frames = 0
        self.error = ""
        self._until: float | None = None

    @contextmanager
    def call(self, patience: float = 0.0) -> Iterator[None]:
        """Inside it the reader is in the hands of a device, which may take ``patience`` seconds by its nature."""
        self._until = time.monotonic() + patience
        try:
            yield
        finally:
            self._until = None

    def report(self) -> ReaderReport:
        """How things are at this moment."""
        until = self._until
        busy = 0.0 if until is None else max(0.0, time.monotonic() - until)
        return ReaderReport(round(busy, 3), self.frames, self.error, self.room.walls)


class Reader:
    """Opens the source, hands on its frames and opens it again when it fails, until stopped."""

    def __init__(self, plan: SourcePlan, writer: Writer, progress: Progress, stop: threading.Event) -> None:
        self._plan = plan
        self._writer = writer
        self._progress = progress
        self._stop = stop
        self._pacer = Pacer(plan.fps)
        self._failures = 0
        self._frames_before = 0

    def run(self) -> None:
        """Returns when stopped; raises `ChannelClosedError` when nobody is left to read for."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._read_all(make_source(self._plan))
            except ChannelClosedError:
                raise
            except EdgeInferError as error:
                self._retry(str(error), began)
            except Exception as error:  # whatever a driver, a decoder or a plug-in throws, the source is tried again
                log.exception("the source failed in a way that it should not")
                self._retry(f"unexpected {type(error).__name__}: {error}", began)

    def _read_all(self, source: Source) -> None:
        progress, writer = self._progress, self._writer
        patience = float(getattr(source, "patience", 0.0))
        try:
            if isinstance(writer, SlotWriter) and hasattr(source, "place"):
                source.place = writer.place
            elif isinstance(writer, StreamWriter):
                writer.room_seconds = getattr(source, "room_seconds", ROOM_SECONDS)
                writer.follow(getattr(source, "faults", None))
            chosen = selects(source, self._pacer.due)
            with progress.call():
                source.__enter__()
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
        finally:
            with progress.call():
                source.close()
        self._rest("the source has ended", ended=True)

    def _wanted(self, reading: Reading) -> bool:
        return self._pacer.due(reading.monotonic) or not isinstance(reading, Picture)

    def _retry(self, text: str, began: float) -> None:
        """Waits before the next attempt, counted from the start of the last: one that timed out has waited enough."""
        lasted = time.monotonic() - began
        if lasted > CALM and self._progress.frames > self._frames_before:
            self._failures = 0
        self._frames_before = self._progress.frames
        pause = min(FIRST_PAUSE * 2 ** min(self._failures, 8), LONGEST_PAUSE)
        self._failures += 1
        log.debug("no frames: %s", text)
        if self._progress.room.outdated():
            log.info("the source is another one than when this reader was locked in; the next reader gets it")
            self._stop.set()
        wait = max(pause - lasted, FIRST_PAUSE) * random.uniform(0.6, 1.0)  # noqa: S311 - jitter, no secret
        self._rest(text, until=time.monotonic() + wait)

    def _rest(self, text: str, *, ended: bool = False, until: float = float("inf")) -> None:
        """Says why no frames come, to each engine that asks, until it is time or the reader is stopped."""
        self._progress.error = shortened(text)
        told = -1
        while not self._stop.is_set() and time.monotonic() < until:
            self._writer.poll()
            if told != self._writer.greetings and self._writer.trouble(text, ended=ended):
                told = self._writer.greetings
            self._stop.wait(TICK)


class Reporter(threading.Thread):
    """Reports once a second and sees to it that the process ends on time, whatever the reading thread is stuck in."""

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
        """Ends the process at once when the supervisor is gone, and shortly after SIGTERM."""
        due = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + 1.0
                self._say()
                self._count()
            ready, _, _ = select.select([self._control.fd, self._signals], [], [], max(0.0, due - time.monotonic()))
            if self._control.fd in ready:
                self._hear()
            if self._signals in ready:
                self._stopping.set()
        time.sleep(LAST_MOMENT)  # the end of the reading thread ends the process earlier
        os._exit(0)

    def _say(self) -> None:
        try:
            self._control.send(self._progress.report())
        except ChannelClosedError:
            os._exit(0)

    def _count(self) -> None:
        """Tell the engine and the log what was left out, whatever the source waits for."""
        settle_all()
        if isinstance(self._writer, StreamWriter):
            self._writer.tell_counts()

    def _hear(self) -> None:
        try:
            self._control.receive()
        except ChannelClosedError:
            os._exit(0)
        except WireError as error:
            log.warning("the supervisor said something that a reader does not know: %s", error)


def run(plan: SourcePlan, control_fd: int, frames_fd: int, room: Room) -> int:
    """Reads one source until SIGTERM or until the supervisor is gone; returns the exit code."""
    stop, progress = threading.Event(), Progress(room)
    signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which stops the others in order
    channel = Channel(frames_fd, TO_READER)
    pictures = plan.gives == "image"
    writer: Writer = (
        SlotWriter(channel, Orientation(plan.rotate, plan.flip))
        if pictures
        else StreamWriter(channel, holds_writer=plan.holds_writer, stopping=stop.is_set)
    )
    Reporter(Channel(control_fd, ()), signals, progress, writer, stop).start()
    try:
        Reader(plan, writer, progress, stop).run()
    except ChannelClosedError:
        log.info("nobody is left to read for")
    finally:
        writer.close()
    return 0
