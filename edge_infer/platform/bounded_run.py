"""Runs a child process to its end, with limited output, because it may handle foreign data and be compromised."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from edge_infer.platform.child_process import go_first
from edge_infer.platform.environment import for_children
from edge_infer.platform.logs import printable

_BLOCK: Final = 1 << 16
_MOST_SAID: Final = 1 << 16
"""Bytes of the child's standard error that are kept."""
_STEP: Final = 1.0
"""Seconds between two checks whether a process that has closed its output has ended."""


class BoundedRun(NamedTuple):
    """The complete standard output, and the exit status (negative: the signal)."""

    output: bytes
    status: int


def run_bounded(
    command: Sequence[str],
    given: bytes = b"",
    *,
    most: int,
    seconds: float | None = None,
    first: bool = False,
    environment: Mapping[str, str] | None = None,
) -> BoundedRun:
    """Run the command with ``given`` as its standard input; print its standard error when it has ended.

    A process that writes more than ``most`` bytes is killed, and its output is empty. Raises
    `subprocess.TimeoutExpired` after that many ``seconds``. The process has a session of its own and inherits no file,
    because it may change to a user who must not get root's terminal. If memory is short, the kernel kills a process
    with ``first`` before others. Without an ``environment`` the process gets that of `for_children`.
    """
    pipe, environment = subprocess.PIPE, for_children() if environment is None else environment
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True, env=environment
    ) as process:
        if first:
            go_first(process.pid)
        said = bytearray()
        try:
            output = _exchange(process, given, said, most, seconds)
            if output is None:
                process.kill()
            status = process.wait(seconds)
        except BaseException:
            process.kill()
            raise
        finally:
            for line in said.decode(errors="replace").splitlines():
                sys.stderr.write(f"{printable(line)}\n")
    return BoundedRun(output or b"", status)


def _exchange(
    process: subprocess.Popen[bytes], given: bytes, said: bytearray, most: int, seconds: float | None
) -> bytes | None:
    """Write the input and read the output until the process has ended.

    Return None if the output is too long. ``said`` gets the beginning of the standard error.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    output, rest = bytearray(), memoryview(given)
    end = float("inf") if seconds is None else time.monotonic() + seconds
    for file in (process.stdin, process.stderr):
        os.set_blocking(file.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        files = selector.get_map()
        # A process that the child has left behind may hold its standard error open.
        while process.stdout in files or (process.stderr in files and process.poll() is None):
            if (left := end - time.monotonic()) <= 0:
                assert seconds is not None
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _ in selector.select(min(left, _STEP)):
                if key.fileobj is process.stdin:
                    rest = _written(process.stdin.fileno(), rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif not (part := os.read(key.fd, _BLOCK)):
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    said += part[: _MOST_SAID - len(said)]
                else:
                    output += part
                    if len(output) > most:
                        return None
    with suppress(BlockingIOError):
        while part := os.read(process.stderr.fileno(), _BLOCK):
            said += part[: _MOST_SAID - len(said)]
    return bytes(output)


def _written(file: int, rest: memoryview) -> memoryview:
    """Return the data that is left to write; nothing if the process has stopped reading."""
    try:
        return rest[os.write(file, rest) :] if rest else rest
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]
