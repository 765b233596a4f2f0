"""Run as a script: ties a command to the life of the reader that started it, and becomes that command.

A script of its own because a fork with code of ours between fork and exec is not safe beside threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 1, 47, 4


def main() -> None:
    """``launch.py PARENT COMMAND [ARGUMENT…]``; ends with 127 and a sentence when there is no such command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    # A reader may have kept the power to read this program, which is not for the command.
    ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the reader ignores it, and that would be inherited
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell, by design
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
