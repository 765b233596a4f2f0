"""Child processes: start with inherited channels, watch, kill when they hang, restart with back-off."""

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

from edge_infer.ipc.channel import MAX_REPORT_BYTES, Channel, ChannelClosedError, TooManyFilesError, pack
from edge_infer.ipc.messages import SetLogLevel
from edge_infer.platform.logs import printable
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.platform.readiness import readable
from edge_infer.platform.stalls import Stalls
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.processes.process_handle import ProcessHandle, SubprocessHandle, ThreadHandle

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Seconds between two starts of a child that keeps dying, unless its recipe sets a shorter pause."""
SERVED: Final = 1.0
SERVED_PAUSE: Final = 1.0
"""Seconds between two starts of a child killed after a record and `SERVED` seconds of life, however often."""
KILLED_PAUSE: Final = 2.0
"""Seconds between two starts of a child killed before that."""
STARTING: Final = 30.0
"""Seconds that a child may take to send its first record: a cold SD card is slow."""
CALM: Final = 60.0
"""Seconds of life after which earlier deaths no longer count."""
CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
)
"""Signals by which a process dies through its own fault."""
MOST_UNSENT: Final = 32 << 20
"""Bytes queued for a child that does not read; a plan takes at most half of it."""
LAST_WAIT: Final = 1.0
"""Seconds that the kernel may take to end a killed process; one that is stuck in a driver never ends."""
MOST_WORDS: Final = 100
"""Maximum number of records received from a child before others have their turn."""
MAX_BURST_RECORDS, MAX_RECORDS_PER_SECOND = 1000, 50
MAX_BURST_BYTES, MAX_BYTES_PER_SECOND = 16 << 20, 4 << 20
"""Limits of what a child may send: it reports once a second, four times while a model loads. The burst covers the
records that queue in the channel while the supervisor is stopped for a while."""


MAX_OFFENCE: Final = 100
"""Characters of the reason for rejecting a record that are logged: the sender controls some of them, each time."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child: the module to run, its arguments, and the record types that it may send.

    ``inherits`` maps further options to open files.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    accepts: tuple[type[Any], ...]
    inherits: Mapping[str, int] = field(default_factory=dict)
    longest_pause: float = LONGEST_PAUSE
    stdin: bool = False
    """Whether the child inherits the standard input of the daemon."""


def pair() -> tuple[int, int]:
    """Return two connected ``SOCK_SEQPACKET`` ends as file descriptors, not inherited unless passed on."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return left.detach(), right.detach()


def restore(file: int) -> None:
    """Reset the flags of a shared open file, and the buffer sizes and time-outs if it is a socket.

    Another process may have set them. They belong to the open file, so the next process that gets it would inherit
    them.
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
    """One child, started by its recipe. ``heard`` is the monotonic time of the last record from it or a predecessor.

    The supervisor never blocks on it. Queued records are sent as the child reads, on each call of `tell`, `hear` or
    `flush`.
    """

    def __init__(self, recipe: ChildSpec, stalls: Stalls | None = None, output: Output | None = None) -> None:
        """In the ``stalls`` of this process, no silence of the child counts.

        An ``output`` that an earlier child used goes on with what that one has left of its limits.
        """
        self.recipe = recipe
        self._stalls = stalls or Stalls()
        self.channel: Channel | None = None
        self.restarts = -1
        self.planned = 0  # ends that the supervisor ordered, because another sandbox was due
        self.last_words: list[Any] = []
        """What it had sent and nobody had read when it was stopped."""
        self.heard = -math.inf
        self.started = 0.0
        self.due = 0.0
        self._body: ProcessHandle | None = None
        self._pause = 0.0
        self._killed = False
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

    def set_log_level(self, level: str) -> None:
        """Set the log level of the child as it runs, and of its successors."""
        self.recipe = replace(self.recipe, arguments=("--log-level", level))
        self._output.allow(verbose=level == "debug")
        if self.pid is not None:
            self.tell(SetLogLevel(level))  # type: ignore[arg-type]

    def start(self, *words: str, thread: bool = False) -> None:
        """Start the child, with further ``words``, as a process or as a ``thread`` of this one.

        If the system has no resources for it, the child is due again after a pause.
        """
        self.started = time.monotonic()
        try:
            self._start(words, thread=thread)
        except OSError as error:
            log.error("%s cannot be started: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self._close()
            self._rest()
            return
        self._killed = False
        self._offence = ""
        self.restarts += 1
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
                self._body = SubprocessHandle(recipe.module, files, line, output, stdin=recipe.stdin)
            finally:
                os.close(output)
        finally:
            os.close(theirs)

    def files(self) -> list[int]:
        """Return the descriptors to wait on: readable when the child sent a record, wrote to the log, or ended."""
        channel = [self.channel.fd] if self.channel and not self._offence else []
        return channel + self._output.files() + ([self._body.fileno()] if self._body else [])

    def output_due(self) -> float:
        """Return the latest time to call `hear` for the log output of the child."""
        return self._output.due()

    def hear(self) -> list[Any]:
        """Receive the records of the child, `MOST_WORDS` at most; none from one that has to be killed (see `offence`).

        Also forwards the child's log output.
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
            self._hang_up()  # it is ending: `ended` will return its status, or `silent` will show that it hangs
        except ValueError as error:
            self._offence = f"sends an invalid record: {printable(str(error))[:MAX_OFFENCE]}"
        if not self._records.take(len(words)):
            self._offence = f"sends more than {MAX_RECORDS_PER_SECOND} records a second"
        elif not self._bytes.take(channel.bytes_received - before):
            self._offence = f"sends more than {MAX_BYTES_PER_SECOND} bytes a second"
        if words:
            self.heard = time.monotonic()
        return words

    def tell(self, record: object, files: tuple[int, ...] = ()) -> bool:
        """Queue a record, with copies of open files, for sending; return False if the child's channel is closed."""
        if self.channel is None:
            return False
        try:
            self._unsent.append((pack(record), tuple(map(os.dup, files))))
        except OSError as error:
            log.error("could not send to %s: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            return False
        self.flush()
        if sum(len(data) for data, _ in self._unsent) > MOST_UNSENT and not self._killed:
            log.error("%s does not read its control channel and is killed", self.recipe.name)
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
        except TooManyFilesError as error:  # the child starts again, and its files are sent again
            log.error("could not send to %s, killing it: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self._hang_up()
            self.kill()

    def unsent(self) -> list[int]:
        """Return the descriptors to wait on until they are writable; call `flush` then."""
        return [self.channel.fd] if self.channel is not None and (self._unsent or self.channel.unsent) else []

    def ended(self) -> int | None:
        """Return the exit status, once, after the child has ended (negative: the signal); schedules the restart."""
        if self._body is None or (status := self._body.poll()) is None:
            return None
        self._rest(fell=fell(status))
        self._close()
        return status

    @property
    def killed(self) -> bool:
        """Whether it was killed, or has to be but cannot be."""
        return self._killed

    @property
    def offence(self) -> str:
        """The protocol violation for which the child has to be killed; empty once it is killed."""
        return "" if self._killed else self._offence

    @property
    def spoke(self) -> bool:
        """Whether it has sent a record since its start."""
        return self.heard > self.started

    @property
    def killable(self) -> bool:
        """Whether it can be killed: a thread of this process cannot."""
        return self._body is None or self._body.killable

    @property
    def unkilled(self) -> bool:
        """Whether it has to be killed, cannot be, and still runs."""
        return self._killed and not self.killable

    def silent(self) -> float:
        """Return the seconds since the child's last record or its start; 0 if it is being killed already."""
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
        """Wait for the end, then kill; return False if the child did not end in time."""
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
            log.error("%s did not stop in time: it is a thread of this process and ends with it", self.recipe.name)
        elif not in_time:
            log.error("%s (pid %d) did not stop and is killed", self.recipe.name, body.pid)
            body.kill(signal.SIGKILL)
            if not readable([body.fileno()], timeout=LAST_WAIT):
                log.error("%s (pid %d) is stuck in the kernel and is left behind", self.recipe.name, body.pid)
        self.last_words = self.hear()
        self._close()
        return in_time

    def _rest(self, *, fell: bool = True) -> None:
        """Schedule the next start: soon after a kill, with growing back-off after a crash."""
        lived = time.monotonic() - self.started
        longest = self.recipe.longest_pause
        if not fell:
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
    """Return whether a process with this exit status ended by its own fault rather than by a kill."""
    return status > 0 or -status in CRASHES


def death(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
