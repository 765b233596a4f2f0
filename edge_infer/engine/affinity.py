"""CPU affinity of threads: a thread that a runtime creates inherits the CPUs of its creator (sched_setaffinity(2))."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from edge_infer.errors import ModelError


def stay_on(cpus: Collection[int]) -> None:
    """Restrict the calling thread to ``cpus``; if empty, to all CPUs that the main thread may use.

    Raises `ModelError` if the process may use none of them.
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
