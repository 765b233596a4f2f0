"""The life of a process that tries one model: it locks itself, says that it is ready, and answers one question."""

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
    """Answers the question that comes on standard input, a socket, with open files, on standard output.

    It dies with its parent.
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
    """What the parent opens to this process, from its command line."""
    return decode_json(Fence, arguments[1].encode())


def die_with_parent() -> None:
    """Nobody is left to end it then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def own_output() -> BinaryIO:
    """The real standard output; whatever the runtime writes there from now on goes to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _say(answers: BinaryIO, record: object) -> None:
    answers.write(dumps(record) + b"\n")
    answers.flush()


def _ready() -> Ready:
    """Loads what every trial needs; OpenBLAS starts its threads here, and after the limits it could not."""
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
    """The line, and the files that came with it; nothing where nobody asks."""
    line, files = bytearray(), []
    with socket.socket(fileno=os.dup(0)) as way:
        while not line.endswith(b"\n"):
            part, some, _, _ = socket.recv_fds(way, _BLOCK, MAX_FILES)
            files += some
            if not part:
                return b"", files
            line += part
    return bytes(line), files
