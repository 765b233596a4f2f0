"""The publisher's process, driven over its channels as the supervisor and the engine do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import Event, Result
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.crash_safe_note import new_note
from edge_infer.ipc.delivered_numbers import new_delivered_numbers
from edge_infer.ipc.messages import (
    Acked,
    ApplyPlan,
    EngineHello,
    EngineUp,
    PublisherHello,
    PublisherReport,
    Stop,
    Tally,
    handover,
)
from edge_infer.plan.records import Plan
from edge_infer.sandbox.fence import Fence
from tests.broker import DEADLINE, PATIENCE, eventually
from tests.publisher.samples import BOOT


def pair() -> tuple[int, int]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return left.detach(), right.detach()


class Room:
    """Plays supervisor and engine; the results channel outlives the process, as in the daemon."""

    def __init__(self) -> None:
        ours, self._theirs = pair()
        self.engine = Channel(ours, (PublisherHello, Acked))
        self._slate, self._delivered, self._rates = new_note(), new_delivered_numbers(), new_note()
        self.control: Channel | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.report: PublisherReport | None = None
        self.sentences: list[str] = []
        self.acked: dict[tuple[str, str, str], int] = {}
        self.words: dict[tuple[str, str, str], Acked] = {}
        self.acks = 0
        self.greet = True
        self.deaf = False
        """Whether the engine leaves what the publisher says in the channel."""
        self.program = "edge_infer.publisher"
        self.hellos = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        if self.control:
            self.control.close()
        self.engine.close()
        os.close(self._theirs)
        os.close(self._slate)
        os.close(self._delivered)
        os.close(self._rates)
        self._log.close()

    def start(self, plan: Plan | None = None) -> Room:
        """Starts the process and gives it its configuration."""
        if self.control:
            self.control.close()
        ours, theirs = pair()
        words = [sys.executable, "-m", self.program, "--control", str(theirs), "--results", str(self._theirs)]
        words += ["--fence", dumps(Fence(writes=("/tmp",), anywhere=True)).decode()]
        words += ["--slate", str(self._slate), "--delivered", str(self._delivered), "--rates", str(self._rates)]
        files = (theirs, self._theirs, self._slate, self._delivered, self._rates)
        self.process = subprocess.Popen(words, pass_fds=files, stderr=self._log)
        os.close(theirs)
        self.control = Channel(ours, (PublisherReport,))
        self.report = None
        if plan:
            self.tell(ApplyPlan(plan))
            self.tell(EngineUp(BOOT))
        return self

    def tell(self, record: object) -> None:
        assert self.control is not None
        assert self.control.send(record)

    def hand_over(self, message: Result | Event, pipeline: str = "door") -> None:
        self.say(handover(pipeline, message))

    def say(self, record: object) -> None:
        """What the engine says; it waits for room here, because the test wants it to arrive."""
        end = time.monotonic() + PATIENCE
        while not self.engine.send(record):
            assert time.monotonic() < end, "the publisher takes nothing"
            self.listen()
            time.sleep(0.01)

    def listen(self) -> None:
        """Reads what the process says to both; answers its greeting as an engine does."""
        while self.control is not None and (report := self._receive(self.control)) is not None:
            self.report = report if report.outbox is not None else self.report  # once the account is known
            self.sentences.append(report.broker)
        while not self.deaf and (word := self.engine.receive()) is not None:
            if isinstance(word, Acked):
                self.acks += 1
                self.acked[word.pipeline, word.boot, word.kind] = word.seq
                self.words[word.pipeline, word.boot, word.kind] = word
            else:
                self.hellos += 1
                if self.greet:
                    self.engine.send(EngineHello(BOOT, self.tallies()))

    def tallies(self, boot: str = BOOT) -> tuple[Tally, ...]:
        """What an engine of this boot knows to be safe."""
        found = ((key, acked) for key, acked in self.words.items() if key[1] == boot)
        return tuple(Tally(key[0], acked.kind, acked.seq, acked.seq, acked.lost) for key, acked in found)

    def _receive(self, channel: Channel) -> Any:
        try:
            return channel.receive()
        except ValueError:
            return None

    def wait(self, condition: Callable[[], Any], what: str, deadline: float = PATIENCE) -> Any:
        def fits() -> Any:
            self.listen()
            return condition()

        return eventually(fits, lambda: f"{what}; it said: {self.sentences[-3:]}; log: {self.log()[-2000:]}", deadline)

    def wait_told(self, part: str, deadline: float = PATIENCE) -> str:
        """The first sentence about the broker that has ``part`` in it."""
        found: str = self.wait(
            lambda: next((text for text in self.sentences if part in text), ""), f"sentence with {part!r}", deadline
        )
        return found

    def wait_connected(self, deadline: float = PATIENCE) -> None:
        self.wait(lambda: self.report and self.report.connected, "connection", deadline)

    def wait_acked(self, seq: int, pipeline: str = "door", boot: str = BOOT) -> None:
        self.wait(lambda: self.acked.get((pipeline, boot, "result"), 0) >= seq, f"acknowledgement of {seq}")

    def stop(self) -> int:
        """Stops it as the supervisor does; its exit code."""
        assert self.process is not None
        self.tell(Stop())
        return self.process.wait(DEADLINE)

    def fill_channel(self) -> None:
        """Lets the engine hear no more: what the publisher says from now on does not fit into the channel."""
        self.deaf = True
        full = Channel(os.dup(self._theirs), ())
        while full.send(Acked("nothing", BOOT, "result", 0)):
            pass
        full.close()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(DEADLINE)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()
