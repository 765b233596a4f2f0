"""Messages between a trial's child process and its parent, one JSON line each."""

from __future__ import annotations

from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most, between
from edge_infer.errors import ModelKey
from edge_infer.models.request import AbsolutePath, ModelRequest, Resolution, Words
from edge_infer.plan.records import PipelinePlan

# Messages between a probe process and its parent, one JSON line each.
#
# Before it reads any part of the model, the child reports that it is ready, or why no model can be tried on this
# machine. Later messages are untrusted, because the model may have taken over the process.

MAX_FILES: Final = 240
"""Maximum number of open files that go with one question; the kernel takes 253."""

Paths = Annotated[tuple[AbsolutePath, ...], at_most(MAX_FILES)]
Seconds = Annotated[float, between(0, 1e6)]


class Ready(Record, frozen=True):
    """The child is ready: the name of its ``runtime``, or the ``error`` if no runtime works here."""

    runtime: Annotated[str, at_most(64)] = ""
    error: Words = ""


class ProbeRequest(Record, frozen=True):
    """Request to try a model within ``seconds``; ``paths`` name the open files that come with it, in the same order."""

    request: ModelRequest
    file: AbsolutePath
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds


class ProbeAnswer(Record, frozen=True):
    """The resolution, or the ``error`` with its ``key`` in the configuration; ``tried`` as in `ModelError`."""

    resolution: Resolution | None = None
    error: Words = ""
    key: ModelKey = "file"
    tried: bool = False


# Messages about the trial of threads or a delegate, and about its result.

TINY: Final = 0.001
"""Run time in seconds below which no second thread is tried: waking it costs as much as it saves."""


class HardwareTrialRequest(Record, frozen=True):
    """Request to try a pipeline's model within ``seconds``; the files of ``paths`` come with it as open descriptors.

    With a delegate, the child checks that it runs enough of the graph and matches the processor's results, using the
    golden inputs of the ``manifest``. Without one, the child finds the fastest number of threads up to ``threads``.
    """

    pipeline: PipelinePlan
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds
    threads: Annotated[int, between(1, 64)] = 1


class HardwareTrialResult(Record, frozen=True):
    """Result of a trial: the number of threads, the fraction of operators that the delegate runs, or the ``error``."""

    threads: Annotated[int, between(1, 64)] = 1
    delegated: Annotated[float, between(0, 1)] = 0.0
    error: Words = ""
