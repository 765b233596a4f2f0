"""Standard input of the daemon, as a reader of ``file: "-"`` inherits it: it can read from it, and do nothing else.

A terminal or a socket is open for reading and writing. A compromised reader could write lines of a forged log to the
terminal, or send data through the socket to another computer. It could also keep the terminal of root.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import threading
from contextlib import suppress
from typing import Final

from edge_infer.platform.event_loop import readable

_BLOCK: Final = 1 << 16
_WAIT: Final = 60.0


def only_readable() -> int:
    """Return standard input for a child; `subprocess.DEVNULL` if this process has none.

    Files and pipes that are open only for reading stay as they are. A thread copies anything else into a pipe, which
    becomes the standard input of this process. So the input survives a restart of the reader. Raises `OSError`.
    """
    try:
        inherited, mode, flags = os.get_inheritable(0), os.fstat(0).st_mode, fcntl.fcntl(0, fcntl.F_GETFL)
    except OSError:
        return subprocess.DEVNULL
    if not inherited:  # standard input was closed at the start, so this is a file of this process
        return subprocess.DEVNULL
    if (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)) and flags & os.O_ACCMODE == os.O_RDONLY:
        return 0
    source = os.dup(0)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.dup2(reading, 0)
    os.close(reading)
    threading.Thread(target=_copy, args=(source, writing), name="standard input", daemon=True).start()
    return 0


def _copy(source: int, writing: int) -> None:
    """Copy until the end of the input, or an error."""
    # The kernel would stop the whole daemon if it read from a terminal in the background.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
    with suppress(OSError):
        while True:
            if not readable([source], timeout=_WAIT):
                continue
            try:
                data = os.read(source, _BLOCK)
            except BlockingIOError:
                continue
            if not data:
                break
            while data:
                data = data[os.write(writing, data) :]
    os.close(writing)
    os.close(source)
