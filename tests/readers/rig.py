"""A real reader process, held from both sides as the supervisor and the engine would hold it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from edge_infer.contract.codec import JsonValue, replace
from edge_infer.engine.input.capture import reader_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.input.frame_receiver import FROM_READER, FrameReceiver
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.frames.frame import Captured, Frame, Samples
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import FrameReady, ReaderReport, ReaderTrouble
from edge_infer.ipc.reader_config import write_reader_config
from edge_infer.plan.records import Flip, Rotation, SourcePlan
from edge_infer.readers.sources import make_source, source_class, source_target

DEADLINE = 30.0
T = TypeVar("T")


def until(found: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """The first thing that ``found`` returns; fails when that takes too long."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if (value := found()) is not None:
            return value
    raise AssertionError(f"waited {deadline:g} s for {what}")


def make_plan(
    kind: str,
    options: Mapping[str, JsonValue],
    *,
    fps: float | None = None,
    rotate: Rotation = 0,
    flip: Flip | None = None,
    target: str = "",
    network: bool | None = None,
) -> SourcePlan:
    """The plan of one source, as the configuration would make it."""
    target = target or source_target(kind)
    plan = SourcePlan(
        name="cam",
        kind=kind,
        target=target,
        live=True,
        network=bool(source_class(target).network) if network is None else network,
        options=options,
        fps=fps,
        rotate=rotate,
        flip=flip,
        gives=source_class(target).gives,
    )
    if plan.gives == "image":
        return plan
    return replace(plan, holds_writer=getattr(make_source(plan), "holds_writer", False))


def parent_of(pid: int) -> int | None:
    """The parent of a process, or None when it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[1])


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    every = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [child for child in every if parent_of(child) == pid]


class Rig:
    """Starts the reader on entering and kills it on leaving; ``receiver`` is the engine's end."""

    def __init__(self, plan: SourcePlan, folder: Path) -> None:
        self.plan = plan
        self.log = folder / "reader.log"
        self._ends = tuple(end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self._told = write_reader_config(self.plan)
        self.receiver = self.new_engine()
        self.control: Channel | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.receiver.close()
        for end in (*self._ends, self._told):
            with contextlib.suppress(OSError):
                os.close(end)

    def new_engine(self) -> FrameReceiver:
        """What a restarted engine has: the same end of the same channel, and no memory of what was."""
        self.receiver = FrameReceiver(Channel(os.dup(self._ends[0]), FROM_READER, files=True))
        return self.receiver

    def start(self) -> None:
        """A new reader on the same channel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = Channel(ours.detach(), (ReaderReport,))
        command = [sys.executable, "-m", "edge_infer.readers", "--control", str(theirs.fileno())]
        command += [
            "--frames",
            str(self._ends[1]),
            "--source",
            str(self._told),
            "--log-level",
            "debug",
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(), self._ends[1], self._told),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        theirs.close()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def alive(self) -> bool:
        """Whether the reader has not ended."""
        assert self.process is not None
        return self.process.poll() is None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Ends the reader and returns its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        if self.control is not None:
            self.control.close()
        return status

    def ready(self, accept: Callable[[FrameReady], bool] = lambda _: True, deadline: float = DEADLINE) -> FrameReady:
        """The next frame that is accepted, held."""

        def look() -> FrameReady | None:
            word = self.receiver.receive(0.2)
            return word if isinstance(word, FrameReady) and accept(word) else None

        return until(look, f"a frame; the reader said: {self.log.read_text()[-2000:]}", deadline)

    def frame(self, accept: Callable[[Frame], bool] = lambda _: True, deadline: float = DEADLINE) -> Frame:
        """The next frame whose pixels are accepted."""

        def look() -> Frame | None:
            if not isinstance(self.receiver.receive(0.2), FrameReady):
                return None
            frame = self.receiver.copy()
            return frame if accept(frame) else None

        return until(look, f"a frame; the reader said: {self.log.read_text()[-2000:]}", deadline)

    def trouble(self, word: str = "", deadline: float = DEADLINE) -> ReaderTrouble:
        """The next trouble whose text has ``word`` in it."""

        def look() -> ReaderTrouble | None:
            said = self.receiver.receive(0.2)
            return said if isinstance(said, ReaderTrouble) and word in said.text else None

        return until(look, f"trouble with {word!r}", deadline)

    def report(self, accept: Callable[[ReaderReport], bool] = lambda _: True) -> ReaderReport:
        """The next report that is accepted."""
        assert self.control is not None
        control = self.control

        def look() -> ReaderReport | None:
            report = control.wait(0.2)
            return report if isinstance(report, ReaderReport) and accept(report) else None

        return until(look, "a report")


class StreamRig(Rig):
    """The same for samples and lines; ``feed`` is the engine's end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.close()
        super().__exit__(kind, error, trace)

    def new_engine(self) -> Feed:  # type: ignore[override]
        self.feed = self.receiver = make_feed(self.plan)  # type: ignore[assignment]
        self.cursor = self.feed.attach()
        self.feed.start(reader_capture(self.plan, os.dup(self._ends[0])))
        return self.feed

    def take(self, accept: Callable[[Captured], bool] = lambda _: True) -> Captured:
        """The next stretch or line that is accepted."""

        def look() -> Captured | None:
            taken = self.feed.next(self.cursor, 0.2)
            return taken if taken is not None and accept(taken) else None

        return until(look, f"something; the reader said: {self.log.read_text()[-2000:]}")

    def rows(self, number: int) -> list[list[float]]:
        """So many rows of samples, or a few more."""
        found: list[list[float]] = []
        while len(found) < number:
            taken = self.take()
            assert isinstance(taken, Samples)
            found += taken.values.tolist()
        return found

    def error(self, word: str) -> str:
        """What the feed says once ``word`` is in it."""
        return until(
            lambda: text if word in (text := str(self.feed.health().error)) else None, f"trouble with {word!r}"
        )
