"""A child process: started with inherited channels, watched, killed when it hangs, started again with back-off."""

from __future__ import annotations

import logging
import math
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from edge_infer.channel import Channel, ChannelClosedError, pack

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Seconds between two starts of a child that dies again and again, unless its recipe says less."""
SERVED: Final = 1.0
SERVED_PAUSE: Final = 1.0
"""Seconds between two starts of a child that had spoken and lived for `SERVED` seconds, however often it is killed."""
STARTING: Final = 30.0
"""Seconds that a child may take to say its first word: a cold SD card is slow."""
CALM: Final = 60.0
"""Seconds of life after which earlier deaths are forgiven."""
CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
)
"""What a process dies of by itself."""
MOST_UNSENT: Final = 32 << 20
"""Bytes that wait for a child that does not listen; a plan is at most half of it."""
LAST_WAIT: Final = 1.0
"""Seconds that the kernel may take to end a killed process; one that is stuck in a driver takes for ever."""
MOST_WORDS: Final = 100
"""Records that are heard from a child before others have their turn."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a child is started: the module to run, its arguments, what it may say, and what else it inherits."""

    name: str
    module: str
    arguments: tuple[str, ...]
    accepts: tuple[type[Any], ...]
    inherits: tuple[int, ...] = ()
    longest_pause: float = LONGEST_PAUSE
    stdin: bool = False
    """Whether it gets what is piped into the daemon."""


def pair() -> tuple[int, int]:
    """Two connected ``SOCK_SEQPACKET`` ends as file descriptors, not inherited unless passed on."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return left.detach(), right.detach()


class Child:
    """One child by its recipe. ``heard`` is when it, or one before it, last spoke, on the monotonic clock.

    Nobody waits for it: what it is told goes out as it listens, whenever `tell`, `hear` or `flush` is called.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.channel: Channel | None = None
        self.restarts = -1
        self.heard = -math.inf
        self.started = 0.0
        self.due = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._pause = 0.0
        self._killed = False
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self, *words: str) -> None:
        """Starts the process, with further ``words``; where the system has no room for one now, it is due again."""
        self.started = time.monotonic()
        try:
            self._start(words)
        except OSError as error:
            log.error("%s cannot be started: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._close()
            self._rest()
            return
        self._killed = False
        self.restarts += 1
        log.info("%s started, pid %d", self.recipe.name, self.pid)

    def _start(self, words: tuple[str, ...]) -> None:
        """A fresh interpreter with only its own imports."""
        ours, theirs = pair()
        recipe = self.recipe
        self.channel = Channel(ours, recipe.accepts)
        command = [sys.executable, "-m", recipe.module, "--control", str(theirs), *recipe.arguments, *words]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=None if recipe.stdin else subprocess.DEVNULL,
                pass_fds=(theirs, *recipe.inherits),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor; it stops the others in order
                env=_environment(),
            )
        finally:
            os.close(theirs)
        self._pidfd = os.pidfd_open(self._process.pid)

    def files(self) -> list[int]:
        """The descriptors to wait on: readable when the child spoke or ended."""
        channel = [self.channel.fd] if self.channel else []
        return channel + ([self._pidfd] if self._pidfd >= 0 else [])

    def hear(self) -> list[Any]:
        """What the child has said since, `MOST_WORDS` at most; one that breaks the rules of the wire is killed."""
        self.flush()
        words: list[Any] = []
        try:
            while self.channel is not None and (word := self.channel.receive()) is not None:
                words.append(word)
                if len(words) >= MOST_WORDS:
                    break
        except ChannelClosedError:
            self._hang_up()  # it is ending; `ended` will tell how, or `silent` that it hangs
        except ValueError as error:
            log.error("%s says what does not fit: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self.kill()
        if words:
            self.heard = time.monotonic()
        return words

    def tell(self, record: object, files: tuple[int, ...] = ()) -> bool:
        """Sends a record, and copies of open files, as soon as the child listens; False when there is no child."""
        if self.channel is None:
            return False
        try:
            self._unsent.append((pack(record), tuple(map(os.dup, files))))
        except OSError as error:
            log.error("%s is not told: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            return False
        self.flush()
        if sum(len(data) for data, _ in self._unsent) > MOST_UNSENT and not self._killed:
            log.error("%s does not listen and is killed", self.recipe.name)
            self.kill()
        return self.channel is not None

    def flush(self) -> None:
        """Sends what the child takes now of what it was told."""
        try:
            while self.channel is not None and self._unsent and self.channel.send_packed(*self._unsent[0]):
                self._forget_first()
            if self.channel is not None:
                self.channel.flush()
        except ChannelClosedError:
            self._hang_up()

    def unsent(self) -> list[int]:
        """The descriptors to wait on until they are writable: call `flush` then."""
        return [self.channel.fd] if self.channel is not None and (self._unsent or self.channel.unsent) else []

    def ended(self) -> int | None:
        """The exit status once the process is gone (negative: the signal), told once; it is due again later."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._rest(fell=fell(status))
        self._close()
        return status

    @property
    def spoke(self) -> bool:
        """Whether it has said a word since its start."""
        return self.heard > self.started

    def silent(self) -> float:
        """Seconds since the child last said something, or since its start; 0 for one that is already being killed."""
        return 0.0 if self._process is None or self._killed else time.monotonic() - max(self.heard, self.started)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal, if it still runs."""
        self._killed |= number == signal.SIGKILL
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, timeout: float) -> bool:
        """Waits for the end, then kills; False when it had to be killed."""
        if self._process is None:
            return True
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and (left := deadline - time.monotonic()) > 0:
            self.flush()
            select.select([self._pidfd], self.unsent(), [], left)
        in_time = self._process.poll() is not None
        if not in_time:
            log.error("%s (pid %d) did not stop and is killed", self.recipe.name, self._process.pid)
            self._process.kill()
            if not select.select([self._pidfd], [], [], LAST_WAIT)[0]:
                log.error("%s (pid %d) is stuck in the kernel and is left", self.recipe.name, self._process.pid)
        self._close()
        return in_time

    def _rest(self, *, fell: bool = True) -> None:
        """When it may start again: soon where it was killed, later and later where it fell or dies at once."""
        lived = time.monotonic() - self.started
        killed = self.spoke and lived > SERVED and not fell
        longest = SERVED_PAUSE if killed else self.recipe.longest_pause
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
        if self._process is not None:
            self._process.poll()
        self._process = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _environment() -> dict[str, str]:
    """Ours, without what makes a crashing interpreter write about itself."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"} | {"PYTHONSAFEPATH": "1"}


def fell(status: int) -> bool:
    """Whether a process with this exit status ended by its own fault, and nobody killed it."""
    return status > 0 or -status in CRASHES


def death(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
