"""An errand: a child that does one thing, says the outcome on its standard output, and ends. Nobody waits for it.

What it writes to its standard error goes into the log, as that of the other children does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_infer.closing import Closing
from edge_infer.own_module import own_module
from edge_infer.supervisor.output import Output

LAST_WAIT: Final = 1.0
"""Seconds that it may take to end once it has said everything, or was killed."""
LONGEST: Final = 16 << 20
MAX_PIECES: Final = 20_000
"""It prints its outcome at once; in more pieces than these it does so to keep its reader busy."""


@dataclass(frozen=True, slots=True)
class Said:
    """All that it said, and how it ended: the exit status (negative: the signal), None where it took too long.

    ``excess`` is what it printed too much of, for which it was killed.
    """

    output: bytes
    status: int | None
    excess: str = ""


class Errand(Closing):
    """``python -m MODULE WORD...``; wait on `fileno`, then `said`. Raises `OSError` where the system has no room."""

    def __init__(self, module: str, *words: str, seconds: float, name: str = "helper") -> None:
        """The log names it ``name``."""
        self._output = bytearray()
        self._pieces = 0
        self._deadline = time.monotonic() + seconds
        self._log = Output(name)
        errors = self._log.open()
        try:
            self._process = subprocess.Popen(
                own_module(module, *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except OSError:
            self._log.close()
            raise
        finally:
            os.close(errors)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def fileno(self) -> int:
        """Readable when there is more to take in."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def said(self) -> Said | None:
        """The outcome once it is there; call it every second, for what the child writes into the log."""
        self._log.read()
        if time.monotonic() > self._deadline:
            self.close()
            return Said(bytes(self._output), None)
        if not self._drain():
            return None
        if excess := self._excess():
            self.close()
            return Said(b"", -signal.SIGKILL, excess)
        try:
            status = self._process.wait(LAST_WAIT)
        except subprocess.TimeoutExpired:  # it said too much, or hangs in its end
            status = -signal.SIGKILL
        self.close()
        return Said(bytes(self._output), status)

    def close(self) -> None:
        """Ends the child; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nobody can do more
                self._process.wait(LAST_WAIT)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _excess(self) -> str:
        if len(self._output) > LONGEST:
            return f"sends more than {LONGEST} bytes"
        return f"sends its outcome in more than {MAX_PIECES} pieces" if self._pieces > MAX_PIECES else ""

    def _drain(self) -> bool:
        """Takes in what is there; True at the end."""
        while True:
            try:
                part = os.read(self.fileno(), 65536)
            except BlockingIOError:
                return False
            self._output += part
            self._pieces += 1
            if not part or self._excess():
                return True
