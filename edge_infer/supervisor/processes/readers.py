"""The readers of a plan: one reader for each live source, its channel to the engine, and the pipes that stay open."""

from __future__ import annotations

import logging
import os
import signal
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge_infer.ipc.messages import ReaderReport
from edge_infer.ipc.reader_config import write_reader_config
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.child_process import PROGRAMS, READER
from edge_infer.platform.closing import Closing
from edge_infer.platform.event_loop import Stalls
from edge_infer.sandbox.needs import runs_foreign_code
from edge_infer.supervisor.processes.child import STARTING, ChildProcess, ChildSpec, pair
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.processes.sandbox_reports import SandboxReports

# The readers of a plan: one reader for each live source, and the channel from each reader to the engine.

log = logging.getLogger(__name__)

SILENT: Final = 10.0
BUSY: Final = 8.0
"""Seconds that a single call into a device may take before the reader is killed."""
PAUSE: Final = 2.0
"""Maximum seconds between two starts of a reader, so that a reconnected camera gives results within 10 s."""
STOP: Final = 0.45
"""Seconds after which all readers that a change or a shutdown has stopped are killed."""
MAX_REMEMBERED: Final = 256
"""Maximum number of remembered log limits of sources without a reader."""


def _inherited(reader_end: int, told: int) -> dict[str, int]:
    return {"--frames": reader_end, "--source": told}


@dataclass(slots=True)
class ReaderHandle:
    """Reader of a live source, and both ends of its channel to the engine, which outlive the engine.

    They also outlive the reader, unless it runs foreign code: a process that the reader left behind might still hold an
    end.
    """

    plan: SourcePlan
    child: ChildProcess
    engine_end: int
    reader_end: int
    told: int
    last: ReaderReport | None = None

    def renew(self) -> None:
        """Create a new channel for the next start; raises `OSError`."""
        ends = pair()
        for end in (self.engine_end, self.reader_end):
            os.close(end)
        self.engine_end, self.reader_end = ends
        self.child.recipe = replace(self.child.recipe, inherits=_inherited(self.reader_end, self.told))

    def close(self) -> None:
        """Close the files; the child must have ended."""
        for end in (self.engine_end, self.reader_end, self.told):
            os.close(end)


class Readers:
    """Owns the readers. Iteration yields all of them."""

    def __init__(self, level: tuple[str, ...], stalls: Stalls, sandboxes: SandboxReports | None = None) -> None:
        """Set up; ``level`` holds the command-line arguments for the log level."""
        self._level = level
        self._sandboxes = sandboxes or SandboxReports()
        self._stalls = stalls
        self._by_source: dict[str, ReaderHandle] = {}
        self._pipes = HeldPipes()
        self._configured: tuple[SourcePlan, ...] = ()
        self._outputs: dict[str, Output] = {}  # of all sources so far: a new reader keeps the limits
        self._replaced: list[ReaderHandle] = []
        """Handles of stopped readers. They stay open until the engine has the successor's channel, because the engine
        takes a closed channel for the loss of the source."""

    def __iter__(self) -> Iterator[ReaderHandle]:
        return iter(self._by_source.values())

    def children(self) -> Mapping[str, ChildProcess]:
        """Return the reader processes by source."""
        return {name: reader.child for name, reader in self._by_source.items()}

    def change(self, sources: tuple[SourcePlan, ...], configured: tuple[SourcePlan, ...]) -> list[ReaderHandle]:
        """Stop the readers of removed or changed sources, start the missing ones, and return the started ones.

        The other ``configured`` sources are needed only later; programs that write into their pipes wait.
        """
        wanted = {source.name: source for source in sources if source.live}
        self._configured = configured
        self.hold_pipes()
        self._release()
        gone = [reader for name, reader in self._by_source.items() if wanted.get(name) != reader.plan]
        self._stop(gone, time.monotonic() + STOP)
        fresh = [self._new(source) for name, source in wanted.items() if name not in self._by_source]
        for reader in fresh:
            self._by_source[reader.plan.name] = reader
            reader.child.start()
        return fresh

    def hold_pipes(self) -> None:
        """Keep the pipes of all configured sources open.

        Call it periodically, because a pipe may be created or replaced later.
        """
        piped = (plan for plan in self._configured if plan.live and plan.holds_writer and not plan.stdin)
        self._pipes.hold(str(plan.options.get("file", "")) for plan in piped)

    def renewed(self, child: ChildProcess) -> ReaderHandle | None:
        """Return the reader of a process about to start again with a new channel; None if it keeps its channel."""
        reader = next((reader for reader in self if reader.child is child), None)
        if reader is None or not runs_foreign_code(reader.plan):
            return None
        try:
            reader.renew()
        except OSError as error:
            log.warning(
                "cannot create a new channel to the engine for %s, so it keeps the old one: %s",
                child.recipe.name,
                error,
            )
            return None
        return reader

    def set_log_level(self, level: tuple[str, ...]) -> None:
        """Set the command-line arguments for the log level of future readers; see `ChildProcess.set_log_level`."""
        self._level = level

    def hear(self) -> None:
        """Receive the reports of the readers."""
        for reader in self:
            for word in reader.child.hear():
                reader.last = self._sandboxes.settled(reader.child, word)

    def hung(self) -> Iterator[tuple[ChildProcess, str]]:
        """Yield the readers that must be killed, each with the reason."""
        for reader in self:
            child = reader.child
            if child.offence:
                yield child, child.offence
            elif child.silent() > (SILENT if child.spoke else STARTING):
                yield child, f"sent no heartbeat for {child.silent():.0f} s"
            elif child.spoke and reader.last is not None and self._waited(reader.last) > BUSY:
                yield child, f"has waited more than {BUSY:.0f} s for its device"
                reader.last = None

    def _waited(self, last: ReaderReport) -> float:
        return last.busy - self._stalls.since(time.monotonic() - last.busy)

    def end(self) -> None:
        """Ask all readers to stop."""
        for reader in self:
            reader.child.kill(signal.SIGTERM)

    def close(self) -> None:
        """Wait for the end of all readers, which `end` has asked to stop. May be called twice."""
        deadline = time.monotonic() + STOP
        for reader in self:
            reader.child.stop(max(0.0, deadline - time.monotonic()))
            reader.close()
        self._by_source.clear()
        self._release()
        self._pipes.close()

    def _stop(self, gone: list[ReaderHandle], deadline: float) -> None:
        for reader in gone:  # all at once, so that they stop in parallel
            reader.child.kill(signal.SIGTERM)
        for reader in gone:
            del self._by_source[reader.plan.name]
            reader.child.stop(max(0.0, deadline - time.monotonic()))
            self._replaced.append(reader)

    def _release(self) -> None:
        while self._replaced:
            self._replaced.pop().close()

    def _new(self, source: SourcePlan) -> ReaderHandle:
        engine_end, reader_end = pair()
        told = write_reader_config(source)
        recipe = ChildSpec(
            f"reader {source.name}",
            "edge_infer.readers",
            self._level,
            (ReaderReport,),
            _inherited(reader_end, told),
            PAUSE,
            PROGRAMS if source.kind == "exec" or runs_foreign_code(source) else READER,
            source.stdin,
        )
        self._sandboxes.renew(recipe.name)
        child = ChildProcess(recipe, self._stalls, self._output_of(source.name))
        return ReaderHandle(source, child, engine_end, reader_end, told)

    def _output_of(self, source: str) -> Output:
        found = self._outputs.pop(source, None) or Output(f"reader {source}")
        self._outputs[source] = found  # the newest entry is the last
        for name in [name for name in self._outputs if name not in self._by_source][:-MAX_REMEMBERED]:
            del self._outputs[name]
        return found


# Named pipes that stay open while their readers are replaced, so that programs writing into them wait.


class HeldPipes(Closing):
    """One open end of each pipe. Nothing is read from it.

    If a pipe has no reader, the kernel discards the bytes in it, and the next write ends the writing program with
    SIGPIPE.
    """

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def hold(self, paths: Iterable[str]) -> None:
        """Hold exactly these pipes from now on. A path that does not exist or is not a pipe is ignored."""
        before, self._ends = self._ends, {}
        for path in paths:
            if path not in self._ends and (end := _open(path)) >= 0:
                self._ends[path] = end
        for end in before.values():
            os.close(end)

    def close(self) -> None:
        """Release all; may be called twice."""
        self.hold(())


def _open(path: str) -> int:
    """Return a reading end of the pipe; -1 if the path does not lead to a readable pipe."""
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - opening another device may have effects
            return -1
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return -1
    if stat.S_ISFIFO(os.fstat(end).st_mode):
        return end
    os.close(end)
    return -1
