"""Time of each pipeline step per frame, measured frame by frame in one thread."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from edge_infer.bench.frames import clip_plan
from edge_infer.engine.model.loaded_model import LoadedModel, Look
from edge_infer.engine.output.outcome import Composer
from edge_infer.frames.frame import Captured, Frame
from edge_infer.frames.pixels import Mask
from edge_infer.ipc.channel import pack
from edge_infer.ipc.messages import handover
from edge_infer.plan.records import PipelinePlan
from edge_infer.readers.sources import Picture, make_source

if TYPE_CHECKING:
    from typing_extensions import Self

STAGES: Final = ("capture", "preprocess", "wait", "invoke", "decode", "after", "hand-over")
"""Stages of a frame. All except ``wait``, which only a running pipeline has, are timed here."""
MOST: Final = 2000
"""Maximum number of timed frames."""
T = TypeVar("T")


class Clocks:
    """Seconds of each stage, for each frame."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._spent: dict[str, float] = defaultdict(float)

    def time(self, stage: str, run: Callable[[], T]) -> T:
        """Call ``run`` and add its time to a stage of the current frame."""
        begun = time.perf_counter()
        found = run()
        self._spent[stage] += time.perf_counter() - begun
        return found

    def frame(self) -> None:
        """Finish the current frame."""
        for stage in STAGES:
            self.times[stage].append(self._spent[stage])
        self._spent.clear()


def time_stages(
    plan: PipelinePlan, frames: list[Captured], seconds: float, clip: Path | None = None
) -> dict[str, float]:
    """Return the median seconds of each of `STAGES`."""
    end, number = time.perf_counter() + seconds, 0
    with LoadedModel(plan) as model, _Steps(plan, model) as steps:
        captured = _captured(frames, clip)
        while not steps.clocks.times or (time.perf_counter() < end and number < MOST):
            number += 1
            for window in model.frames(steps.clocks.time("capture", lambda: next(captured))):
                steps(window)
    return {stage: median(steps.clocks.times[stage]) for stage in STAGES}


def _captured(frames: list[Captured], clip: Path | None) -> Iterator[Captured]:
    """Yield the frames in memory repeatedly, or those of the clip."""
    if clip is None:
        yield from cycle(frames)
    with make_source(clip_plan(clip or Path())) as source:
        while isinstance(picture := source.read(), Picture):
            yield Frame(picture.pixels, picture.color, picture.wall, picture.monotonic, 1)


class _Steps:
    """The steps of `FramePipeline`, each timed; results go to the null device."""

    def __init__(self, plan: PipelinePlan, model: LoadedModel) -> None:
        self.clocks = Clocks()
        self._name = plan.name
        self._model = model
        self._mask = Mask(plan.mask)
        self._compose = Composer(plan, "0be0c4")
        self._away = -1

    def __enter__(self) -> Self:
        self._away = os.open(os.devnull, os.O_WRONLY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._away)

    def __call__(self, window: Captured) -> None:
        """Run all steps for one frame."""
        model, clock = self._model, self.clocks.time
        visible = clock("preprocess", lambda: self._mask(window))
        looks = [self._look(part) for part in model.parts(visible)]
        findings = clock("after", lambda: model.postprocess(*model.join(looks), window.monotonic))
        outcome = clock("after", lambda: self._compose(findings, window, time.monotonic()))
        clock("hand-over", lambda: os.write(self._away, pack(handover(self._name, outcome.result(1), outcome.at))))
        self.clocks.frame()

    def _look(self, part: Captured) -> Look:
        model, clock = self._model, self.clocks.time
        transform = clock("preprocess", lambda: model.feed(part))
        tensors = clock("invoke", model.interpreter.invoke)  # the views are released on return, before the next run
        return clock("decode", lambda: model.decode(tensors)), transform
