"""What ``file`` of a source may name: a file, a named pipe, or ``-`` for the daemon's standard input."""

from __future__ import annotations

import os
import stat
from typing import Final

from edge_infer.errors import SourceError

STDIN: Final = "-"


def is_live(file: str) -> bool:
    """Whether it is something to wait at: a pipe, a device, standard input, or what is not there yet."""
    try:
        return file == STDIN or not stat.S_ISREG(os.stat(file).st_mode)  # noqa: PTH116 - follows links, as open does
    except OSError:
        return True


def is_pipe(file: str) -> bool:
    """Whether it is a named pipe, or a device that can be read like one."""
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def open_input(file: str) -> int:
    """An open descriptor of its own; raises `SourceError`.

    A named pipe is opened for writing too: otherwise it would end whenever the program at its other end does.
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
