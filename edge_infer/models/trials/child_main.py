"""The main loop of a trial's child process, and its resource limits."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.contract.codec import decode_json, dumps
from edge_infer.errors import StartError
from edge_infer.models.packages.read_files import LARGEST_MODEL
from edge_infer.models.trials.messages import MAX_FILES, Ready
from edge_infer.platform.child_process import go_first
from edge_infer.sandbox import Fence, lock

# Resource limits of a process that runs untrusted models.

ROOM: Final = 768 << 20
"""Maximum address space in bytes for a model, in addition to the mappings that exist after all imports. Most of this
space is never touched.

YOLOv5n at 640x640, the largest of a public collection of 27, takes 52 MB more.
"""
LAST_SECONDS: Final = 2
"""Processor seconds between SIGXCPU and the kill. An endless computation may ignore SIGXCPU."""
FILES: Final = 64
"""Maximum number of open files."""
LOWEST: Final = 19
"""The lowest priority (nice value)."""
PER_BYTE: Final = 4
"""Bytes of address space for each byte of a model file: its content, a copy in the runtime, and packed weights."""


def give_way() -> None:
    """Give this process and its session the lowest priority for the processor.

    Many kernels first share the time among sessions, and apply priorities only within a session. So both are lowered.
    """
    os.nice(LOWEST)
    with suppress(OSError):  # without autogroups, a kernel needs no second setting
        Path("/proc/self/autogroup").write_text(str(LOWEST), encoding="ascii")


def limit(size: int, seconds: float, threads: int = 1, files: int = 0) -> None:
    """Limit memory, processor time, file size, open files and processes for a model file of ``size`` bytes.

    The parent's timeout covers everything else. ``files`` raises the limit of open files above `FILES`. With
    ``threads`` above one the process may start threads; only memory then limits their number.
    """
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = min(ROOM, os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() // 2) + PER_BYTE * size
    _bound(resource.RLIMIT_AS, mapped + room)
    _bound(resource.RLIMIT_FSIZE, LARGEST_MODEL)
    _bound(resource.RLIMIT_NOFILE, FILES + files)
    if threads == 1:
        _bound(resource.RLIMIT_NPROC, 0)  # no new threads; the kernel does not limit threads of root
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime + seconds * threads)
    _bound(resource.RLIMIT_CPU, most, most + LAST_SECONDS)


def _bound(limit: int, most: int, last: int | None = None) -> None:
    """Set a limit permanently, within the daemon's own limit. Beyond ``last`` the kernel kills the process."""
    hard = resource.getrlimit(limit)[1]
    soft, end = most, most if last is None else last
    if hard != resource.RLIM_INFINITY:
        soft, end = min(soft, hard), min(end, hard)
    resource.setrlimit(limit, (soft, end))


# The main loop of a trial's process: enter the sandbox, send `Ready`, answer one question.

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
    """Parse the `Fence` on the command line: the access that the sandbox permits this process."""
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
    if error := _no_threads():
        return Ready(error=error)
    import cv2
    import numpy  # noqa: F401, ICN001

    import edge_infer.models.trials.trial  # noqa: F401
    from edge_infer.engine.interpreter import backend_name

    cv2.setNumThreads(1)
    try:
        return Ready(backend_name()[:64])
    except StartError as error:
        return Ready(error=str(error)[:4000])


def _no_threads() -> str:
    """Return the reason why this process cannot start a thread for each core, as OpenBLAS does; empty if it can."""
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in os.sched_getaffinity(0)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:
        return (
            "no models can be tried: the process that tries them cannot start threads, because its user or service has "
            "too many; raise TasksMax= of the service or the user's limit (ulimit -u)"
        )
    finally:
        end.set()
    for thread in threads:
        thread.join()
    return ""


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
