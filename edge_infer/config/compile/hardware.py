"""Hardware settings of pipelines: number of threads, CPUs and delegate."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.config.schema.file import Config
from edge_infer.config.schema.keys import values_of
from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.contract.codec import dumps, encode, replace
from edge_infer.errors import ModelError, StartError, quoted, shortened
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials import hardware
from edge_infer.models.trials.known_results import Count, Known, Proof, read_known, write_known
from edge_infer.models.trials.messages import TINY
from edge_infer.plan.records import DelegatePlan, PipelinePlan, Problem
from edge_infer.platform.board import board_name
from edge_infer.yamlfile.load import Document, Steps

ONLINE: Final = Path("/sys/devices/system/cpu/online")
LIBRARIES: Final = ("/usr/local/lib", "/usr/lib", "/usr/lib/*-linux-gnu*", "/lib")


class Equipper:
    """Adds the hardware settings to pipelines.

    Problems are added to ``problems`` and ``warnings``. With ``keeps``, measurements are stored on disk.
    """

    def __init__(
        self, document: Document, problems: list[Problem], warnings: list[Problem], state_dir: Path, *, keeps: bool
    ) -> None:
        self._document = document
        self._problems = problems
        self._warnings = warnings
        self._state_dir = state_dir
        self._keeps = keeps

    def check(self, config: Config) -> None:
        """Check that this machine has the CPUs and cores that the pipelines request."""
        cpus = cpus_here()
        for name, section in config.pipelines.items():
            steps: Steps = ("pipelines", name)
            for index, cpu in enumerate(values_of(PipelinePlan, section)["affinity"]):
                if cpu not in cpus:
                    self._wrong((*steps, "affinity", index), f"this machine has no CPU {cpu}; it has {_spelled(cpus)}")
            self._check_threads(steps, section, len(os.sched_getaffinity(0)))

    def equipped(
        self, config: Config, pipelines: Sequence[PipelinePlan], requests: Mapping[str, ModelRequest]
    ) -> tuple[PipelinePlan, ...]:
        """Return all pipelines with the hardware settings.

        Several pipelines share the processor, with one thread each.
        """
        known = before = read_known(self._state_dir)
        found = []
        for each in pipelines:
            section, request = config.pipelines[each.name], requests[each.model.name]
            plan, known = self._delegated(each, request, known)
            if len(pipelines) == 1 and section.threads == "auto" and (plan.delegate is None or plan.delegate.unusable):
                plan, known = self._counted(plan, request, known)
            found.append(plan)
        if self._keeps and known != before:
            try:
                write_known(self._state_dir, known)
            except StartError as error:
                self._warn(
                    ("pipelines",),
                    (f"the results of the model trials cannot be stored; the next start repeats them: {error}"),
                )
        return tuple(found)

    def _check_threads(self, steps: Steps, section: Pipeline, cores: int) -> None:
        mine = len(values_of(PipelinePlan, section)["affinity"]) or cores
        if section.threads == "auto" or section.threads <= min(mine, cores):
            return
        most = min(mine, cores)
        what = "its affinity names" if mine < cores else "this machine has"
        have, better = ("one core", "auto") if most == 1 else (f"{most} cores", f"auto, or a number up to {most}")
        text = f"{section.threads} threads wait for each other, because {what} {have}; {better} is faster"
        self._warn((*steps, "threads"), text)

    def _counted(self, pipeline: PipelinePlan, request: ModelRequest, known: Known) -> tuple[PipelinePlan, Known]:
        """Return the plan with the fastest number of threads on this board, stored before or measured now."""
        cores, measured = len(os.sched_getaffinity(0)), pipeline.model.measured
        if cores == 1 or (measured.run or 0.0) < TINY:
            return pipeline, known
        about = (pipeline.model.sha256, measured.runtime, board_name())
        threads = known.threads(*about)
        if threads is None and self._keeps:
            try:
                threads = hardware.threads(replace(pipeline, delegate=None), request, cores)
                known = known.having(Count(*about, threads))
            except (ModelError, StartError) as error:
                text = f"the fastest number of threads could not be measured, so the model gets one: {error}"
                self._warn(("pipelines", pipeline.name, "threads"), text)
        return replace(pipeline, threads=min(threads or 1, len(pipeline.affinity) or cores)), known

    def _delegated(self, pipeline: PipelinePlan, request: ModelRequest, known: Known) -> tuple[PipelinePlan, Known]:
        """Return the plan after a trial of its delegate; report a failure, or mark the delegate as unusable."""
        delegate = pipeline.delegate
        if delegate is None:
            return pipeline, known
        about = _about(pipeline, delegate)
        share = known.delegated(about)
        if share is not None and share >= delegate.min_delegated:
            return pipeline, known
        try:
            share = hardware.delegated(pipeline, request)
        except (ModelError, StartError) as error:
            why = quoted(str(error)) if isinstance(error, ModelError) and error.foreign else str(error)
            return self._without(pipeline, delegate, why), known
        return pipeline, known.having(Proof(about, share))

    def _without(self, pipeline: PipelinePlan, delegate: DelegatePlan, why: str) -> PipelinePlan:
        steps: Steps = ("pipelines", pipeline.name, "delegate")
        if delegate.on_failure == "cpu":
            self._warn(steps, f"{why}; {pipeline.model.name} runs on the processor")
            return replace(pipeline, delegate=replace(delegate, unusable=shortened(why)))
        self._wrong(steps, why)
        return pipeline

    def _wrong(self, steps: Steps, text: str) -> None:
        """Report a problem of this machine; it is not a problem of the file."""
        self._problems.append(replace(self._document.problem(steps, text[:4000]), outside=True))

    def _warn(self, steps: Steps, text: str) -> None:
        self._warnings.append(self._document.problem(steps, text[:4000]))


JUDGEMENT: Final = 2
"""Version of the criteria of `try_delegate`. Increase it when they become stricter, so that earlier results no longer
count."""


def _about(pipeline: PipelinePlan, delegate: DelegatePlan) -> str:
    """Return a digest of all that affects the result: delegate file, options, model, runtime, board, criteria."""
    model = pipeline.model
    facts = (
        *(delegate.library, _looks(delegate.library), delegate.options),
        *(model.sha256, model.manifest, model.measured.runtime, JUDGEMENT),
    )
    return hashlib.sha256(dumps([encode(each) for each in (*facts, board_name())])).hexdigest()


def _looks(library: str) -> list[int]:
    """Return size and modification time of a library file; empty if it is not found."""
    if "/" in library:
        files = [Path(library)]
    else:
        folders = [Path("/").glob(place.lstrip("/")) for place in LIBRARIES]
        files = [folder / library for some in folders for folder in some]
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        return [found.st_size, found.st_mtime_ns]
    return []


def cpus_here(online: Path = ONLINE) -> frozenset[int]:
    """Return the numbers of this machine's CPUs, including CPUs reserved by ``isolcpus``."""
    try:
        ranges = [part.partition("-") for part in online.read_text(encoding="ascii").strip().split(",")]
        return frozenset(cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        return frozenset(os.sched_getaffinity(0))


def _spelled(cpus: frozenset[int]) -> str:
    """Return the numbers as text for a sentence."""
    numbers = sorted(cpus)
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
