"""Open the ``file`` of a source: a file, a named pipe, or ``-`` for the daemon's standard input."""

from __future__ import annotations

import os
import stat
from typing import Final

from edge_infer.errors import SourceError

STDIN: Final = "-"


def is_live(file: str) -> bool:
    """Return whether reading may have to wait: a pipe, a device, standard input, or a file that is missing."""
    try:
        return file == STDIN or not stat.S_ISREG(os.stat(file).st_mode)  # noqa: PTH116 - follows links, as open does
    except OSError:
        return True


def is_pipe(file: str) -> bool:
    """Return whether the file is a named pipe, or a character device."""
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def open_input(file: str) -> int:
    """Return a new open descriptor; raises `SourceError`.

    A named pipe is opened for writing too. Otherwise it would end each time the program at its other end exits.
    """
    if file == STDIN:
        return os.dup(0)
    try:
        pipe = stat.S_ISFIFO(os.stat(file).st_mode)  # noqa: PTH116
        return os.open(file, (os.O_RDWR if pipe else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise SourceError(f"{file} does not exist; a named pipe is made by `mkfifo {file}`") from error
    except PermissionError as error:
        raise SourceError(
            f"no permission to open {file}: the daemon's user must be able to read it, and to write into a pipe"
        ) from error
    except OSError as error:
        raise SourceError(f"{file} cannot be opened: {error.strerror}") from error
