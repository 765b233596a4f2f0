"""What a model is to run on, and what came of trying it."""

from __future__ import annotations

from typing import Annotated, Final

from edge_infer.codec import Record, between
from edge_infer.config.plan import PipelinePlan
from edge_infer.models.order import Paths, Seconds
from edge_infer.models.request import AbsolutePath
from edge_infer.models.resolution import Words

TINY: Final = 0.001
"""Seconds of a run below which no second thread is tried: waking it costs as much as it brings."""


class Wanted(Record, frozen=True):
    """Try a pipeline's model within ``seconds``; the files of ``paths`` come with it, open.

    With a delegate: does it take enough of the graph, and does it compute what the processor does, with the golden
    inputs of the ``manifest``? Without: which number of threads up to ``threads`` is the quickest?
    """

    pipeline: PipelinePlan
    manifest: AbsolutePath | None
    paths: Paths
    seconds: Seconds
    threads: Annotated[int, between(1, 64)] = 1


class Found(Record, frozen=True):
    """That number, or the share of the operators that the delegate takes; or in words what was in the way."""

    threads: Annotated[int, between(1, 64)] = 1
    delegated: Annotated[float, between(0, 1)] = 0.0
    error: Words = ""
