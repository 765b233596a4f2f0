"""A serial device as the kernel has it: raw, at a speed, and for one program alone."""

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
"""Bauds that this system knows, and what it calls them."""


def open_tty(device: str, baud: int) -> int:
    """An open descriptor that never blocks; what was received before is thrown away. Raises `SourceError`."""
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
    """Gives it free again, also where another program has it open as well."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCNXCL)
    os.close(fd)


def _raw(found: list[int | list[bytes | int]], speed: int) -> list[int | list[bytes | int]]:
    """8 data bits, no parity, one stop bit, no flow control, nothing translated (cfmakeraw(3)).

    Without HUPCL: otherwise each time that the device is closed and opened resets boards of the Arduino kind.
    """
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    characters = found[6]
    assert isinstance(characters, list)
    characters[termios.VMIN], characters[termios.VTIME] = 0, 0
    return [0, 0, control, 0, speed, speed, characters]
