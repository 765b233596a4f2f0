"""The child of `edge_infer.models.probe`: orders come in on standard input, answers go out on standard output."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.codec import decode, dumps, encode, loads
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.models.files import LARGEST_MODEL
from edge_infer.models.order import Answer, Order
from edge_infer.sandbox import Fence, lock

_PR_SET_PDEATHSIG: Final = 1
log = logging.getLogger(__name__)

ROOM: Final = 768 << 20
"""Bytes of address space for a model beyond what is mapped after all imports (which is mostly never touched), at most.

YOLOv5n at 640x640, the largest of a public collection of 27, takes 52 MB more.
"""
FILES: Final = 64
"""Open files."""
PER_BYTE: Final = 4
"""Bytes of address space for each byte of a model file: its content, a copy in the runtime, and packed weights."""


def main() -> int:
    """Answers orders until there are no more, or until the parent dies; the arguments are folders it writes to."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _go_first()
    lock("probe", fence=Fence(writes=tuple(sys.argv[1:]), anywhere=True))
    answers = _answers()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _load()
    for line in sys.stdin.buffer:
        answer = _answer(decode(Order, loads(line)))
        answers.write(dumps(encode(answer)) + b"\n")
        answers.flush()
    return 0


def _answers() -> BinaryIO:
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


def _answer(order: Order) -> Answer:
    from edge_infer.models.trial import try_model  # heavy, and only after the locks

    store = Path(order.store) if order.store else None
    _limit(order)
    try:
        return Answer(try_model(order.request, store))
    except ModelError as error:
        return Answer(error=str(error)[:4000], key=error.key, tried=error.tried)
    except EdgeInferError as error:
        return Answer(error=str(error)[:4000], machine=True)
    except MemoryError:
        return Answer(error=f"{order.request.file}: the model needs more memory than a model may have here")
    except Exception as error:
        log.exception("trying %s", order.request.file)
        return Answer(error=f"{order.request.file}: {type(error).__name__}: {error}"[:4000])


def _go_first() -> None:
    """Should the board run out of memory, this process is the one to end, not the engine."""
    with suppress(OSError):  # a container may show it read-only; then the kernel's own choice is as good as any
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(order: Order) -> None:
    """Bounds memory, computing time, files and processes; the parent's clock bounds everything else."""
    try:
        size = Path(order.request.file).stat().st_size
    except OSError:
        size = 0
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = min(ROOM, os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() // 2) + PER_BYTE * size
    _bound(resource.RLIMIT_AS, mapped + room)
    _bound(resource.RLIMIT_FSIZE, LARGEST_MODEL, for_ever=True)
    _bound(resource.RLIMIT_NOFILE, FILES, for_ever=True)
    _bound(resource.RLIMIT_NPROC, 0, for_ever=True)  # no more than there are; root's are not counted
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _bound(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + order.seconds))


def _bound(limit: int, most: int, *, for_ever: bool = False) -> None:
    """At most so much, within what the daemon itself may have; what is not ``for_ever`` the next order may change."""
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most if for_ever else hard))


if __name__ == "__main__":
    sys.exit(main())
