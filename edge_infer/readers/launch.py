"""Script that replaces itself by a command. The kernel kills the command when the reader that started it dies.

This script is separate, because running Python code between fork and exec is not safe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_MAX_FILES = 192
"""The same number as `edge_infer.sandbox.MAX_FILES_OF_FOREIGN_CODE`. This script imports nothing of the package."""
_PR_SET_PDEATHSIG, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 1, 47, 4


def main() -> None:
    """Run ``launch.py PARENT COMMAND [ARGUMENT…]``; exit with a message when the command cannot be run."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    # A reader may have kept the capability to read this program; the command must not inherit it.
    ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):  # the reader ignores these; the command must not
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell, by design
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
