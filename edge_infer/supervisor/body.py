"""What a room lives in: a process of its own or, where memory is scarce, a thread of this one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from edge_infer.own_module import own_module

log = logging.getLogger(__name__)


class Body(Protocol):
    """One run of a module: made to begin it, closed after its end."""

    pid: int
    killable: bool
    """Whether it can be ended without its doing, and nothing else with it."""

    def fileno(self) -> int:
        """For select: readable once it has ended."""
        ...

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        ...

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal, where it can take one."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class ProcessBody:
    """A fresh interpreter with only its own imports: ``python -m module``; raises `OSError` where there is no room.

    ``files`` are options of its command line and the open files that they name, which it inherits. Its standard output
    and error are ``output``. With ``stdin`` it gets what is piped into the daemon.
    """

    killable = True

    def __init__(
        self, module: str, files: Mapping[str, int], words: tuple[str, ...], output: int, *, stdin: bool = False
    ) -> None:
        self._process = subprocess.Popen(
            own_module(module, *_options(files), *words),
            stdin=None if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(files.values()),
            start_new_session=True,  # Ctrl-C in a terminal is for the supervisor; it stops the others in order
            env=_environment(),
        )
        self.pid = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    def fileno(self) -> int:
        """See `Body`."""
        return self._pidfd

    def poll(self) -> int | None:
        """See `Body`."""
        return self._process.poll()

    def kill(self, number: signal.Signals) -> None:
        """See `Body`."""
        self._process.send_signal(number)

    def close(self) -> None:
        """See `Body`."""
        self._process.poll()
        os.close(self._pidfd)


class ThreadBody:
    """The same module in a thread, which gets copies of the ``files``; it ends by itself or with the whole process.

    The module's ``main`` takes the words and gives the status; one that raises has ended with 1.
    """

    killable = False

    def __init__(self, module: str, files: Mapping[str, int], words: tuple[str, ...]) -> None:
        self.pid = os.getpid()
        self._status: int | None = None
        self._ended = os.eventfd(0, os.EFD_CLOEXEC)
        copies: dict[str, int] = {}
        try:
            copies.update((option, os.dup(file)) for option, file in files.items())
            line = [*_options(copies), *words]
            threading.Thread(target=self._run, args=(module, line), name=module.rpartition(".")[2], daemon=True).start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            for file in (self._ended, *copies.values()):
                os.close(file)
            raise OSError(str(error)) from error

    def fileno(self) -> int:
        """See `Body`."""
        return self._ended

    def poll(self) -> int | None:
        """See `Body`."""
        return self._status

    def kill(self, number: signal.Signals) -> None:
        """No signal is for one thread alone."""

    def close(self) -> None:
        """A thread that goes on keeps what tells its end."""
        if self._status is not None:
            os.close(self._ended)

    def _run(self, module: str, line: list[str]) -> None:
        status = 1
        try:
            status = import_module(f"{module}.__main__").main(line)
        except Exception:  # the outermost loop of a room: the supervisor starts another one
            log.exception("%s ends because of a fault of its own", module)
        finally:
            os.eventfd_write(self._ended, 1)
            self._status = status


def _options(files: Mapping[str, int]) -> list[str]:
    return [word for option, file in files.items() for word in (option, str(file))]


def _environment() -> dict[str, str]:
    """Ours, without what makes a crashing interpreter write about itself."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"}
