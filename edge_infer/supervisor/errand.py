"""An errand: a child that does one thing, says the outcome on its standard output, and ends. Nobody waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_infer.closing import Closing

LAST_WAIT: Final = 1.0
"""Seconds that it may take to end once it has said everything, or was killed."""
LONGEST: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Said:
    """All that it said, and how it ended: the exit status (negative: the signal), None where it took too long."""

    output: bytes
    status: int | None


class Errand(Closing):
    """``python -m MODULE WORD...``; wait on `fileno`, then `said`. Raises `OSError` where the system has no room."""

    def __init__(self, module: str, *words: str, seconds: float) -> None:
        self._output = bytearray()
        self._deadline = time.monotonic() + seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def fileno(self) -> int:
        """Readable when there is more to take in."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def said(self) -> Said | None:
        """The outcome once it is there."""
        if time.monotonic() > self._deadline:
            self.close()
            return Said(bytes(self._output), None)
        if not self._drain():
            return None
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

    def _drain(self) -> bool:
        """Takes in what is there; True at the end."""
        while True:
            try:
                part = os.read(self.fileno(), 65536)
            except BlockingIOError:
                return False
            self._output += part
            if not part or len(self._output) > LONGEST:
                return True
