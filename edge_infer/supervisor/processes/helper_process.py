"""Helper process: it does one task, prints the outcome to its standard output, and ends. Callers never block on it.

Its standard error goes into the log, like that of the other child processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_infer.platform.child_process import go_first, own_module
from edge_infer.platform.closing import Closing
from edge_infer.platform.environment import for_children
from edge_infer.supervisor.processes.output import Output

END_WAIT: Final = 10.0
"""Seconds in which the process must end after its outcome. At the lowest priority it gets little processor time."""
KILL_WAIT: Final = 1.0
"""Seconds to wait for the end of a killed process. If it ends later, it is reaped with the orphans."""
LONGEST: Final = 16 << 20
MAX_PIECES: Final = 20_000
"""Maximum number of pieces in which the outcome may arrive. A helper prints its outcome at once, so more pieces only
occupy the reader."""


@dataclass(frozen=True, slots=True)
class HelperResult:
    """The complete output and the exit status (negative: the signal). The status is None after a time-out.

    ``excess`` describes the limit that was exceeded and for which the process was killed.
    """

    output: bytes
    status: int | None
    excess: str = ""


class HelperProcess(Closing):
    """``python -m MODULE WORD...``: wait on `fileno`, then call `said`. Raises `OSError` if it cannot be started.

    A word that contains a NUL raises `ValueError`. If memory is short, the kernel kills the helper first.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        seconds: float,
        output: Output,
        stdin: int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process. Without ``environment`` it gets that of `for_children`.

        ``output`` forwards its log output, over all runs of this helper.
        """
        self._output = bytearray()
        self._pieces = 0
        self._deadline = time.monotonic() + seconds
        self._complete = False
        self._log = output
        errors = self._log.open()
        try:
            self._process = subprocess.Popen(
                own_module(module, *words),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=for_children() if environment is None else environment,
            )
        except (OSError, ValueError):
            self._log.close()
            raise
        finally:
            os.close(errors)
        go_first(self.pid)
        assert self._process.stdout is not None
        self._output_file = self._process.stdout.fileno()
        os.set_blocking(self._output_file, False)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._end()
            raise

    def begin_again(self, seconds: float) -> None:
        """Give the process this many seconds from now, because it was waiting until now."""
        self._deadline = time.monotonic() + seconds

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def runs(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is more output and, after it, at the end of the process."""
        return self._pidfd if self._complete else self._output_file

    def said(self) -> HelperResult | None:
        """Return the outcome once it is complete. Call it every second, because it also forwards the log output."""
        self._log.read()
        late = time.monotonic() > self._deadline
        if not self._complete:
            if late:
                self.close()
                return HelperResult(bytes(self._output), None)
            ended = self._process.poll() is not None  # no more output follows, even if a descendant has it open
            if not self._drain() and not ended:
                return None
            if excess := self._excess():
                self.close()
                return HelperResult(b"", -signal.SIGKILL, excess)
            self._complete = True
            self._deadline = time.monotonic() + END_WAIT
        if (status := self._process.poll()) is None:
            if not late:
                return None
            status = -signal.SIGKILL  # the process hangs while it ends
        self.close()
        return HelperResult(bytes(self._output), status)

    def close(self) -> None:
        """End the child; may be called twice."""
        self._end()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # it gets no processor time, or is stuck in the kernel
                self._process.wait(KILL_WAIT)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _excess(self) -> str:
        if len(self._output) > LONGEST:
            return f"sends more than {LONGEST} bytes"
        return f"sends its outcome in more than {MAX_PIECES} pieces" if self._pieces > MAX_PIECES else ""

    def _drain(self) -> bool:
        """Read the available output; return True at the end of the output."""
        while True:
            try:
                part = os.read(self._output_file, 65536)
            except BlockingIOError:
                return False
            self._output += part
            self._pieces += 1
            if not part or self._excess():
                return True
