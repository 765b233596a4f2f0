"""CPU affinity and priority of the engine's threads: models get the cores, and all other work yields to them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import cv2

from edge_infer.errors import ModelError
from edge_infer.sandbox import kernel

# CPU affinity of threads. A thread that a runtime creates inherits the CPUs of its creator (sched_setaffinity(2)).


def stay_on(cpus: Collection[int]) -> None:
    """Restrict the calling thread to ``cpus``; if empty, to all CPUs that the main thread may use.

    Raises `ModelError` if the process may use none of these CPUs.
    """
    wanted = set(cpus) or os.sched_getaffinity(os.getpid())
    if os.sched_getaffinity(0) == wanted:
        return
    try:
        os.sched_setaffinity(0, wanted)
    except OSError as error:
        named, may = (", ".join(map(str, sorted(some))) for some in (wanted, os.sched_getaffinity(os.getpid())))
        text = f"it cannot run on the CPUs {named} ({error.strerror}); this process may use {may}"
        raise ModelError(text) from error


@contextmanager
def staying_on(cpus: Collection[int]) -> Iterator[None]:
    """Restrict the calling thread to ``cpus`` for the duration of the context; change nothing if ``cpus`` is empty."""
    before = os.sched_getaffinity(0)
    if cpus:
        stay_on(cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# Settings that leave the CPU cores to the models: everything else in the process uses the cores as little as possible.

SWITCH: Final = 0.0005
"""Switch interval in seconds: a Python thread that returns from a model run must not wait 5 ms for another thread."""


def leave_to_models() -> None:
    """Configure the whole process so that OpenCV works in the calling thread: its thread pool costs more than it gains.

    Measured at 720p to 224: a third thread took 0.65 ms of each frame, and MobileNetV2 ran at 0.93 of the speed of the
    bare loop instead of 0.96.
    """
    sys.setswitchinterval(SWITCH)
    cv2.setNumThreads(1)


# Lowering the priority of a thread that hangs.

_libc = ctypes.CDLL(None, use_errno=True)
_libc.signal.restype = ctypes.c_void_p


def give_up_priority(thread: threading.Thread) -> None:
    """Make ``thread`` run at the lowest priority from now on, wherever it hangs; do nothing if that fails.

    The sandbox refuses `setpriority` on every thread but the caller, so the thread has to make the call itself. The
    thread gets a signal whose handler is the C library's ``nice``, which needs neither the interpreter nor its lock.
    The kernel calls the handler with the number of the signal, which is 34 or more, and priorities end at 19.
    """
    machine = kernel.machine()
    if machine is None or thread.native_id is None:
        return
    _libc.signal(signal.SIGRTMIN, ctypes.cast(_libc.nice, ctypes.c_void_p))
    with suppress(OSError):  # the thread has ended
        kernel.call(machine.numbers["tgkill"], os.getpid(), thread.native_id, signal.SIGRTMIN)
