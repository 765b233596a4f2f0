"""Open a serial device in raw mode, at a speed, and exclusively."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
from typing import Final

from edge_infer.errors import SourceError

SPEEDS: Final = {
    int(name[1:]): value for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdecimal()
}
"""Baud rates that this system supports, and their termios constants."""


def open_tty(device: str, baud: int) -> int:
    """Return an open non-blocking descriptor, with the receive buffer cleared. Raises `SourceError`."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SourceError(
            f"{device} does not exist: nothing is plugged in there; names under /dev/serial/by-id/ stay the same"
        ) from error
    except PermissionError as error:
        raise SourceError(f"no permission to open {device}: the daemon's user must be in group `dialout`") from error
    except OSError as error:
        why = "another program uses it" if error.errno == errno.EBUSY else os.strerror(error.errno or 0)
        raise SourceError(f"{device} cannot be opened: {why}") from error
    try:
        fcntl.ioctl(fd, termios.TIOCEXCL)
        termios.tcsetattr(fd, termios.TCSANOW, _raw(termios.tcgetattr(fd), SPEEDS[baud]))
        termios.tcflush(fd, termios.TCIFLUSH)
    except (OSError, termios.error) as error:
        close_tty(fd)
        raise SourceError(f"{device} is no serial device: {error.args[-1]}") from error
    return fd


def close_tty(fd: int) -> None:
    """Close the device and end the exclusive use, even if another program has it open too."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCNXCL)
    os.close(fd)


def _raw(found: list[int | list[bytes | int]], speed: int) -> list[int | list[bytes | int]]:
    """Return the raw settings: 8 data bits, no parity, 1 stop bit, no flow control, no translation (cfmakeraw(3)).

    HUPCL is off, because otherwise each close and reopen would reset Arduino-like boards.
    """
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    characters = found[6]
    assert isinstance(characters, list)
    characters[termios.VMIN], characters[termios.VTIME] = 0, 0
    return [0, 0, control, 0, speed, speed, characters]
