"""Messages about the trial of threads or a delegate, and about its result."""

from __future__ import annotations

from typing import Annotated, Final

from edge_infer.codec import Record, between
from edge_infer.config.plan import PipelinePlan
from edge_infer.models.order import Paths, Seconds
from edge_infer.models.request import AbsolutePath
from edge_infer.models.resolution import Words

TINY: Final = 0.001
"""Run time in seconds below which no second thread is tried: waking it costs as much as it saves."""


class Wanted(Record, frozen=True):
    """Request to try a pipeline's model within ``seconds``; the files of ``paths`` come with it as open descriptors.

    With a delegate, the child checks that it runs enough of the graph and matches the processor's results, using the
    golden inputs of the ``manifest``. Without one, the child finds the fastest number of threads up to ``threads``.
    """

    pipeline: PipelinePlan
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds
    threads: Annotated[int, between(1, 64)] = 1


class Found(Record, frozen=True):
    """Result of a trial: the number of threads, the fraction of operators that the delegate runs, or the ``error``."""

    threads: Annotated[int, between(1, 64)] = 1
    delegated: Annotated[float, between(0, 1)] = 0.0
    error: Words = ""
