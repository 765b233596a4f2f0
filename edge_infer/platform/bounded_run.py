"""Run a child process to its end, with a limit of its output: it may handle foreign data, and be compromised."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

_BLOCK: Final = 1 << 16


class BoundedRun(NamedTuple):
    """The complete standard output, and the exit status (negative: the signal)."""

    output: bytes
    status: int


def run_bounded(command: Sequence[str], given: bytes = b"", *, most: int, seconds: float | None = None) -> BoundedRun:
    """Run the command with ``given`` as its standard input.

    A process that writes more than ``most`` bytes is killed, and its output is empty. Raises
    `subprocess.TimeoutExpired` after that many ``seconds``.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            output = _exchange(process, given, most, seconds)
            if output is None:
                process.kill()
            status = process.wait(seconds)
        except BaseException:
            process.kill()
            raise
    return BoundedRun(output or b"", status)


def _exchange(process: subprocess.Popen[bytes], given: bytes, most: int, seconds: float | None) -> bytes | None:
    """Write the input and read the output; None if that is too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    output, rest = bytearray(), memoryview(given)
    end = None if seconds is None else time.monotonic() + seconds
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        while process.stdout in selector.get_map():
            if not (ready := selector.select(None if end is None else max(0.0, end - time.monotonic()))):
                assert seconds is not None
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = _written(process.stdin.fileno(), rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif part := os.read(process.stdout.fileno(), _BLOCK):
                    output += part
                    if len(output) > most:
                        return None
                else:
                    selector.unregister(process.stdout)
    return bytes(output)


def _written(file: int, rest: memoryview) -> memoryview:
    """Return what is left to write; nothing if the process reads no more."""
    try:
        return rest[os.write(file, rest) :] if rest else rest
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]
