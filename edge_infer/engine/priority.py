"""Lowers the priority of a thread that hangs."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import suppress

from edge_infer.sandbox import kernel

_libc = ctypes.CDLL(None, use_errno=True)
_libc.signal.restype = ctypes.c_void_p


def give_up_priority(thread: threading.Thread) -> None:
    """Make ``thread`` run at the lowest priority from now on, wherever it hangs; do nothing if that fails.

    The sandbox refuses `setpriority` on every thread but the caller, so the thread has to make the call itself. It gets
    a signal whose handler is the C library's ``nice``, which needs neither the interpreter nor its lock. The kernel
    calls the handler with the number of the signal, which is 34 or more, and priorities end at 19.
    """
    machine = kernel.machine()
    if machine is None or thread.native_id is None:
        return
    _libc.signal(signal.SIGRTMIN, ctypes.cast(_libc.nice, ctypes.c_void_p))
    with suppress(OSError):  # it has ended
        kernel.call(machine.numbers["tgkill"], os.getpid(), thread.native_id, signal.SIGRTMIN)
