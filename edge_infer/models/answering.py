"""The main loop of a probe process: lock the sandbox, send `Ready`, answer one question."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

from edge_infer.codec import decode_json, dumps
from edge_infer.errors import StartError
from edge_infer.models.limits import go_first
from edge_infer.models.order import MAX_FILES, Ready
from edge_infer.sandbox import Fence, lock

_PR_SET_PDEATHSIG: Final = 1
_BLOCK: Final = 1 << 16


def answer_one(answer: Callable[[bytes, list[int]], object], fence: Fence) -> None:
    """Read one question from standard input, a socket that also carries open files, and answer on standard output.

    The kernel kills this process when its parent dies.
    """
    die_with_parent()
    go_first()
    lock("probe", fence=fence)
    answers = own_output()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _say(answers, _ready())
    order, files = _question()
    if order:
        _say(answers, answer(order, files))


def fence_of(arguments: list[str]) -> Fence:
    """Parse the `Fence` from the command line: the access that the sandbox leaves to this process."""
    return decode_json(Fence, arguments[1].encode())


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, because no other process would end it then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def own_output() -> BinaryIO:
    """Return the real standard output and redirect later output of the runtime to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _say(answers: BinaryIO, record: object) -> None:
    answers.write(dumps(record) + b"\n")
    answers.flush()


def _ready() -> Ready:
    """Import what every trial needs, and return `Ready`.

    The imports come first because OpenBLAS starts its threads on import, which the resource limits forbid later.
    """
    import cv2
    import numpy  # noqa: F401, ICN001

    import edge_infer.models.trial  # noqa: F401
    from edge_infer.engine.interpreter import backend_name

    cv2.setNumThreads(1)
    try:
        return Ready(backend_name()[:64])
    except StartError as error:
        return Ready(error=str(error)[:4000])


def _question() -> tuple[bytes, list[int]]:
    """Return the question line and the files that came with it; the line is empty if the parent asks nothing."""
    line, files = bytearray(), []
    with socket.socket(fileno=os.dup(0)) as way:
        while not line.endswith(b"\n"):
            part, some, _, _ = socket.recv_fds(way, _BLOCK, MAX_FILES)
            files += some
            if not part:
                return b"", files
            line += part
    return bytes(line), files
