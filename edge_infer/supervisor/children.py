"""A child process: started with inherited channels, watched, killed when it hangs, started again with back-off."""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from edge_infer.channel import Channel, ChannelClosedError

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Seconds between two starts of a child that dies again and again, unless its recipe says less."""
CALM: Final = 60.0
"""Seconds of life after which earlier deaths are forgiven."""


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
    """One child by its recipe. ``heard`` is when it last proved to be alive, on the monotonic clock."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.channel: Channel | None = None
        self.restarts = -1
        self.heard = 0.0
        self.started = 0.0
        self.due = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._pause = 0.0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the process, a fresh interpreter with only its own imports."""
        ours, theirs = pair()
        recipe = self.recipe
        command = [sys.executable, "-m", recipe.module, "--control", str(theirs), *recipe.arguments]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=None if recipe.stdin else subprocess.DEVNULL,
                pass_fds=(theirs, *recipe.inherits),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor; it stops the others in order
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        finally:
            os.close(theirs)
        self.channel = Channel(ours, recipe.accepts)
        self._pidfd = os.pidfd_open(self._process.pid)
        self.started = self.heard = time.monotonic()
        self.restarts += 1
        log.info("%s started, pid %d", recipe.name, self._process.pid)

    def files(self) -> list[int]:
        """The descriptors to wait on: readable when the child spoke or ended."""
        channel = [self.channel.fd] if self.channel else []
        return channel + ([self._pidfd] if self._pidfd >= 0 else [])

    def hear(self) -> list[Any]:
        """What the child has said since; a child that breaks the rules of the wire is killed."""
        words: list[Any] = []
        try:
            while self.channel is not None and (word := self.channel.receive()) is not None:
                words.append(word)
        except ChannelClosedError:
            pass  # it is ending; `ended` will tell how
        except ValueError as error:
            log.error("%s says what does not fit: %s", self.recipe.name, error)  # noqa: TRY400 - a sentence is enough
            self.kill()
        if words:
            self.heard = time.monotonic()
        return words

    def tell(self, record: object, files: tuple[int, ...] = (), timeout: float = 1.0) -> bool:
        """Sends a record; False when the child is gone or does not listen."""
        if self.channel is None:
            return False
        try:
            return self.channel.send_within(record, timeout, files)
        except ChannelClosedError:
            return False

    def ended(self) -> int | None:
        """The exit status once the process is gone (negative: the signal), told once; it is due again later."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        lived = time.monotonic() - self.started
        self._pause = 0.0 if lived > CALM else min(max(self._pause * 2, FIRST_PAUSE), self.recipe.longest_pause)
        self.due = time.monotonic() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
        self._close()
        return status

    def silent(self) -> float:
        """Seconds since the child last said something."""
        return time.monotonic() - self.heard if self._process else 0.0

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, timeout: float) -> bool:
        """Waits for the end, then kills; False when it had to be killed."""
        if self._process is None:
            return True
        in_time = True
        if self._process.poll() is None and not select.select([self._pidfd], [], [], timeout)[0]:
            log.error("%s (pid %d) did not stop and is killed", self.recipe.name, self._process.pid)
            self._process.kill()
            in_time = False
        self._process.wait(5.0)
        self._close()
        return in_time

    def _close(self) -> None:
        self._process = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def death(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
