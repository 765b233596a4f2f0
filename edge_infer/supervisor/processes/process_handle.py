"""Handles of child modules.

A module runs in a process of its own or, where memory is scarce, in a thread of this process.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from edge_infer.platform.child_process import go_before, own_module
from edge_infer.platform.environment import for_children
from edge_infer.supervisor.processes.standard_input import only_readable

log = logging.getLogger(__name__)


class ProcessHandle(Protocol):
    """One run of a module. The constructor starts it; the supervisor closes the handle after the run has ended."""

    pid: int
    killable: bool
    """Whether a signal can end the run without its cooperation and without ending anything else."""

    def fileno(self) -> int:
        """Return the descriptor that is readable once the module has ended."""
        ...

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the module runs."""
        ...

    def kill(self, number: signal.Signals) -> None:
        """Send a signal, if this kind of child can receive one."""
        ...

    def close(self) -> None:
        """Release the descriptors."""
        ...


class SubprocessHandle:
    """A new Python process that loads only the imports of the module (``python -m module``).

    Raises `OSError` if it cannot be started.

    ``files`` maps options of its command line to the open files that it inherits. ``output`` becomes its standard
    output and error. ``oom_score`` is for `go_before`. With ``stdin`` it inherits the standard input of the daemon.
    """

    killable = True

    def __init__(
        self,
        module: str,
        files: Mapping[str, int],
        words: tuple[str, ...],
        output: int,
        *,
        oom_score: int,
        stdin: bool = False,
    ) -> None:
        self._process = subprocess.Popen(
            own_module(module, *_options(files), *words),
            stdin=only_readable() if stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(files.values()),
            start_new_session=True,  # Ctrl-C must reach only the supervisor, which stops the others in order
            env=_environment(),
        )
        self.pid = self._process.pid
        go_before(self.pid, oom_score)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    def fileno(self) -> int:
        """See `ProcessHandle`."""
        return self._pidfd

    def poll(self) -> int | None:
        """See `ProcessHandle`."""
        return self._process.poll()

    def kill(self, number: signal.Signals) -> None:
        """See `ProcessHandle`."""
        self._process.send_signal(number)

    def close(self) -> None:
        """See `ProcessHandle`."""
        self._process.poll()
        os.close(self._pidfd)


class ThreadHandle:
    """The same module in a thread, with copies of the ``files``. It ends by itself or together with the whole process.

    The module's ``main`` gets the arguments and returns the exit status. The status is 1 if ``main`` raises.
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
        except (OSError, RuntimeError) as error:  # RuntimeError: the system allows no more threads
            for file in (self._ended, *copies.values()):
                os.close(file)
            raise OSError(str(error)) from error

    def fileno(self) -> int:
        """See `ProcessHandle`."""
        return self._ended

    def poll(self) -> int | None:
        """See `ProcessHandle`."""
        return self._status

    def kill(self, number: signal.Signals) -> None:
        """Do nothing: a signal cannot be sent to a single thread."""

    def close(self) -> None:
        """Close the descriptor that signals the end, unless the thread still runs and needs it."""
        if self._status is not None:
            os.close(self._ended)

    def _run(self, module: str, line: list[str]) -> None:
        status = 1
        try:
            status = import_module(f"{module}.__main__").main(line)
        except Exception:  # the outermost handler of this module: the supervisor restarts it
            log.exception("%s stops: unexpected exception", module)
        finally:
            os.eventfd_write(self._ended, 1)
            self._status = status


def _options(files: Mapping[str, int]) -> list[str]:
    return [word for option, file in files.items() for word in (option, str(file))]


def _environment() -> dict[str, str]:
    """Return the environment of a child, without the variable that makes a crashing interpreter write a traceback."""
    return {name: value for name, value in for_children().items() if name != "PYTHONFAULTHANDLER"}
