"""Child processes: start with inherited channels, watch, kill when they hang, and restart with back-off."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import random
import signal
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from edge_infer.errors import quoted
from edge_infer.ipc.channel import MAX_REPORT_BYTES, Channel, ChannelClosedError, TooManyFilesError, pack
from edge_infer.ipc.messages import SetLogLevel
from edge_infer.platform.child_process import READER
from edge_infer.platform.event_loop import Stalls, readable
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.processes.process_handle import ProcessHandle, SubprocessHandle, ThreadHandle

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Maximum seconds between two starts of a child that keeps dying, unless its spec sets a shorter pause."""
SERVED: Final = 1.0
SERVED_PAUSE: Final = 1.0
"""Seconds between two starts of a child that was killed after it had sent a record and lived for `SERVED` seconds."""
KILLED_PAUSE: Final = 2.0
"""Seconds between two starts of a child that was killed within `SERVED` seconds."""
SOON: Final = 10.0
QUICK_KILLS: Final = 3
"""Number of kills in a row, by other programs and within `SOON` seconds after a start, after which the pauses grow as
after crashes. Memory is probably short, and will still be short at the next start."""
STARTING: Final = 30.0
"""Seconds in which a child must send its first record; a cold SD card is slow."""
CALM: Final = 60.0
"""Seconds of uninterrupted life after which earlier deaths no longer count."""
CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
)
"""Signals that end a process because of its own fault."""
MOST_UNSENT: Final = 32 << 20
"""Maximum bytes queued for a child that does not read. A plan takes at most half of it."""
LAST_WAIT: Final = 1.0
"""Seconds to wait for the end of a killed process. A process that is stuck in a driver never ends."""
MOST_WORDS: Final = 100
"""Maximum number of records received from one child before the other children have their turn."""
MAX_BURST_RECORDS, MAX_RECORDS_PER_SECOND = 1000, 50
MAX_BURST_BYTES, MAX_BYTES_PER_SECOND = 16 << 20, 4 << 20
"""Limits of the bytes that a child may send. It reports once per second, and four times per second while a model loads.
The burst covers the records that wait in the channel while the supervisor is stopped for a while."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child: the module to run, its arguments, and the record types that it may send.

    ``inherits`` maps further command-line options to open files.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    accepts: tuple[type[Any], ...]
    inherits: Mapping[str, int] = field(default_factory=dict)
    longest_pause: float = LONGEST_PAUSE
    oom_score: int = READER
    """See `edge_infer.platform.child_process`."""
    stdin: bool = False
    """Whether the child inherits the standard input of the daemon."""


def pair() -> tuple[int, int]:
    """Return two connected ``SOCK_SEQPACKET`` ends as file descriptors, not inherited unless passed on."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return left.detach(), right.detach()


def restore(file: int) -> None:
    """Reset the flags of a shared open file and, for a socket, its buffer sizes and time-outs.

    Another process may have set them. They belong to the open file, so the next process that gets the file would
    inherit them.
    """
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_NONBLOCK if stat.S_ISSOCK(os.fstat(file).st_mode) else 0)
    if not stat.S_ISSOCK(os.fstat(file).st_mode):
        return
    fresh, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with fresh, other, socket.socket(fileno=os.dup(file)) as shared:
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            shared.setsockopt(socket.SOL_SOCKET, size, fresh.getsockopt(socket.SOL_SOCKET, size) // 2)  # it is doubled
        for limit in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            shared.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", 0, 0))


class ChildProcess:
    """One child, started by its spec. ``heard`` is the monotonic time of the last record from it or its predecessor.

    The supervisor never blocks on a child. Queued records are sent when the child reads, during each call of `tell`,
    `hear` or `flush`.
    """

    def __init__(self, recipe: ChildSpec, stalls: Stalls | None = None, output: Output | None = None) -> None:
        """Set up. During the ``stalls`` of this process, the silence of the child does not count.

        The limits of ``output`` include what an earlier child with the same ``output`` has written.
        """
        self.recipe = recipe
        self._stalls = stalls or Stalls()
        self.channel: Channel | None = None
        self.restarts = -1
        self.planned = 0  # restarts that the supervisor ordered, because another sandbox was needed
        self._as_planned = False  # whether the supervisor ordered the next restart
        self.last_words: list[Any] = []
        """Records that the child had sent but that were not received yet when it was stopped."""
        self.heard = -math.inf
        self.started = 0.0
        self.due = 0.0
        self._body: ProcessHandle | None = None
        self._pause = 0.0
        self._killed = False
        self._quick_kills = 0
        self._offence = ""
        self._output = output or Output(recipe.name)
        self._output.allow(verbose="debug" in recipe.arguments)
        self._records = TokenBucket(MAX_BURST_RECORDS, MAX_RECORDS_PER_SECOND)
        self._bytes = TokenBucket(MAX_BURST_BYTES, MAX_BYTES_PER_SECOND)
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()

    @property
    def pid(self) -> int | None:
        """The process id while the child runs."""
        return self._body.pid if self._body else None

    @property
    def failures(self) -> int:
        """Number of restarts that the supervisor did not order."""
        return max(0, self.restarts - self.planned)

    def end_as_planned(self, *, orderly: bool) -> None:
        """Make the next start due at once. Count it as planned, unless the child was killed or crashed at its stop."""
        self.due, self._as_planned = 0.0, orderly

    def set_log_level(self, level: str) -> None:
        """Set the log level of the running child and of its successors."""
        self.recipe = replace(self.recipe, arguments=("--log-level", level))
        self._output.allow(verbose=level == "debug")
        if self.pid is not None:
            self.tell(SetLogLevel(level))  # type: ignore[arg-type]

    def start(self, *words: str, thread: bool = False) -> None:
        """Start the child, with further arguments ``words``, as a process or as a ``thread`` of this process.

        If the system lacks the resources, the start is repeated after a pause.
        """
        self.started = time.monotonic()
        try:
            self._start(words, thread=thread)
        except OSError as error:
            log.error("cannot start %s, trying again after a pause: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self._close()
            self._rest()
            return
        self._killed = False
        self._offence = ""
        self.restarts += 1
        self.planned += self._as_planned
        self._as_planned = False
        log.info("%s started, pid %d", self.recipe.name, self.pid)

    def _start(self, words: tuple[str, ...], *, thread: bool) -> None:
        ours, theirs = pair()
        recipe = self.recipe
        self.channel = Channel(ours, recipe.accepts, MAX_REPORT_BYTES)
        for file in recipe.inherits.values():
            restore(file)
        files = {"--control": theirs, **recipe.inherits}
        try:
            line = (*recipe.arguments, *words)
            if thread:
                self._body = ThreadHandle(recipe.module, files, line)
                return
            output = self._output.open()
            try:
                self._body = SubprocessHandle(
                    recipe.module, files, line, output, oom_score=recipe.oom_score, stdin=recipe.stdin
                )
            finally:
                os.close(output)
        finally:
            os.close(theirs)

    def files(self) -> list[int]:
        """Return the descriptors to wait on.

        One is readable when the child has sent a record, has written to the log, or has ended.
        """
        channel = [self.channel.fd] if self.channel and not self._offence else []
        return channel + self._output.files() + ([self._body.fileno()] if self._body else [])

    def output_due(self) -> float:
        """Return the latest time at which to call `hear` for the log output of the child."""
        return self._output.due()

    def hear(self) -> list[Any]:
        """Receive at most `MOST_WORDS` records of the child; none if it must be killed (see `offence`).

        This also forwards the log output of the child.
        """
        self._output.read()
        self.flush()
        words: list[Any] = []
        if self.channel is None or self._offence:
            return words
        channel, before = self.channel, self.channel.bytes_received
        try:
            while len(words) < MOST_WORDS and channel.bytes_received - before < MAX_REPORT_BYTES:
                if (word := channel.receive()) is None:
                    break
                words.append(word)
        except ChannelClosedError:
            self._hang_up()  # the child is ending: `ended` will return its status, or `silent` will show that it hangs
        except ValueError as error:
            self._offence = f"sends an invalid record{self.said(str(error))}"
        if not self._records.take(len(words)):
            self._offence = f"sends more than {MAX_RECORDS_PER_SECOND} records a second"
        elif not self._bytes.take(channel.bytes_received - before):
            self._offence = f"sends more than {MAX_BYTES_PER_SECOND} bytes a second"
        if words:
            self.heard = time.monotonic()
        return words

    def said(self, text: str) -> str:
        """Return a text that the child chose, in brackets and quotation marks, for sentences about it.

        Such a text does not leave the device (see `edge_infer.errors.quoted`). It counts towards the limits of the
        child's output. The result is empty once they are used up.
        """
        text = self._output.excerpt(text)
        return f" ({quoted(text)})" if text else ""

    def tell(self, record: object, files: tuple[int, ...] = ()) -> bool:
        """Queue a record for sending, with copies of open files. Return False if the child's channel is closed."""
        if self.channel is None:
            return False
        try:
            self._unsent.append((pack(record), tuple(map(os.dup, files))))
        except OSError as error:
            log.error("could not send to %s: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            return False
        self.flush()
        if sum(len(data) for data, _ in self._unsent) > MOST_UNSENT and not self._killed:
            log.error("%s does not read its control channel; killing it", self.recipe.name)
            self.kill()
        return self.channel is not None

    def flush(self) -> None:
        """Send as many queued records as the child accepts now."""
        try:
            while self.channel is not None and self._unsent and self.channel.send_packed(*self._unsent[0]):
                self._forget_first()
            if self.channel is not None:
                self.channel.flush()
        except ChannelClosedError:
            self._hang_up()
        except TooManyFilesError as error:  # the child will start again, and its files will be sent again
            log.error("could not send to %s, killing it: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self._hang_up()
            self.kill()

    def unsent(self) -> list[int]:
        """Return the descriptors to wait on until they are writable; then call `flush`."""
        return [self.channel.fd] if self.channel is not None and (self._unsent or self.channel.unsent) else []

    def ended(self) -> int | None:
        """Return the exit status once, after the child has ended (negative: the signal). Schedule the restart."""
        if self._body is None or (status := self._body.poll()) is None:
            return None
        self._rest(fell=fell(status), by_others=status == -signal.SIGKILL and not self._killed)
        self._close()
        return status

    @property
    def killed(self) -> bool:
        """Whether the child was killed, or must be killed but cannot be."""
        return self._killed

    @property
    def offence(self) -> str:
        """Protocol violation for which the child must be killed; empty once it has been killed."""
        return "" if self._killed else self._offence

    @property
    def spoke(self) -> bool:
        """Whether the child has sent a record since its start."""
        return self.heard > self.started

    @property
    def killable(self) -> bool:
        """Whether the child can be killed. A thread of this process cannot."""
        return self._body is None or self._body.killable

    @property
    def unkilled(self) -> bool:
        """Whether the child must be killed, cannot be killed, and still runs."""
        return self._killed and not self.killable

    def silent(self) -> float:
        """Return the seconds since the child's last record or its start; 0 if it is already being killed."""
        if self._body is None or self._killed:
            return 0.0
        last = max(self.heard, self.started)
        return time.monotonic() - last - self._stalls.since(last)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, if the child still runs."""
        self._killed |= number == signal.SIGKILL
        if self._body is not None and self._body.poll() is None:
            self._body.kill(number)

    def stop(self, timeout: float) -> bool:
        """Wait for the end, then kill. Return False if the child did not end in time."""
        body = self._body
        if body is None:
            return True
        deadline = time.monotonic() + timeout
        while body.poll() is None and (left := deadline - time.monotonic()) > 0:
            self.flush()
            left = max(0.0, min(left, self._output.due() - time.monotonic()))
            readable([body.fileno(), *self._output.files()], self.unsent(), left)
            self._output.read()
        in_time = body.poll() is not None
        if not in_time and not body.killable:
            log.error(
                "%s did not stop in time; as a thread of the supervisor it ends with the supervisor", self.recipe.name
            )
        elif not in_time:
            log.error("%s (pid %d) did not stop; killing it", self.recipe.name, body.pid)
            body.kill(signal.SIGKILL)
            if not readable([body.fileno()], timeout=LAST_WAIT):
                log.error("%s (pid %d) is stuck in the kernel; leaving it behind", self.recipe.name, body.pid)
        self.last_words = self.hear()
        self._close()
        return in_time

    def _rest(self, *, fell: bool = True, by_others: bool = False) -> None:
        """Schedule the next start: soon after a kill, with growing back-off after crashes and kills ``by_others``."""
        lived = time.monotonic() - self.started
        longest = self.recipe.longest_pause
        self._quick_kills = self._quick_kills + 1 if by_others and lived < SOON else 0
        if not fell and self._quick_kills <= QUICK_KILLS:
            longest = SERVED_PAUSE if self.spoke and lived > SERVED else min(KILLED_PAUSE, longest)
        self._pause = 0.0 if lived > CALM else min(max(self._pause * 2, FIRST_PAUSE), longest)
        self.due = time.monotonic() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def _forget_first(self) -> None:
        for file in self._unsent.popleft()[1]:
            os.close(file)

    def _hang_up(self) -> None:
        while self._unsent:
            self._forget_first()
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def _close(self) -> None:
        self._hang_up()
        self._output.close()
        body, self._body = self._body, None
        if body is not None:
            body.close()


def fell(status: int) -> bool:
    """Return whether a process with this exit status ended by its own fault and not by a kill."""
    return status > 0 or -status in CRASHES
