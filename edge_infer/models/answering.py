"""The life of a child that tries models: orders come in on standard input, answers go out on standard output."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

from edge_infer.codec import dumps, encode
from edge_infer.models.limits import go_first
from edge_infer.sandbox import Fence, lock

_PR_SET_PDEATHSIG: Final = 1


def answer_all(answer: Callable[[bytes], object], fence: Fence) -> None:
    """Shuts itself in, and gives the record that ``answer`` makes of each line until there are no more.

    It dies with its parent.
    """
    die_with_parent()
    go_first()
    lock("probe", fence=fence)
    answers = own_output()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _load()
    for line in sys.stdin.buffer:
        answers.write(dumps(encode(answer(line))) + b"\n")
        answers.flush()


def die_with_parent() -> None:
    """Nobody is left to end it then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def own_output() -> BinaryIO:
    """The real standard output; whatever the runtime writes there from now on goes to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _load() -> None:
    """What every trial needs, after the locks; OpenBLAS starts its threads here, and after the limits it could not."""
    import cv2
    import numpy  # noqa: F401, ICN001

    import edge_infer.models.trial  # noqa: F401

    cv2.setNumThreads(1)
