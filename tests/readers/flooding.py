"""Foreign code that keeps as many open files in transit as the kernel permits, and still gives pictures."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.readers.paced import PacedSource

TARGET = "tests.readers.flooding:FloodingSource"
PER_MESSAGE = 253
SIZE = (64, 48)


def flood() -> tuple[list[socket.socket], str]:
    """The sockets that hold files in transit; how many files that are, and the limit of the process."""
    held: list[socket.socket] = []
    file, sent = os.open("/dev/null", os.O_RDONLY), 0
    with suppress(OSError):
        while True:
            held += socket.socketpair()
            socket.send_fds(held[-1], [b"x"], [file] * PER_MESSAGE)
            sent += PER_MESSAGE
    return held, f"FLOOD {sent} {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}\n"


class FloodingSource(PacedSource):
    """A plug-in that floods once its own memory has been handed over."""

    def read(self):  # type: ignore[no-untyped-def] # noqa: ANN201
        if self._count == 5:
            self._held, said = flood()
            print(said, file=sys.stderr, flush=True)
        return super().read()


def main(said_to: Path) -> None:
    """A program of `kind: exec` that does the same."""
    _held, said = flood()
    said_to.write_text(said)
    while True:
        sys.stdout.buffer.write(bytes(SIZE[0] * SIZE[1]))
        sys.stdout.buffer.flush()
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
