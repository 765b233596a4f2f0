"""The two benchmarks that are compared: a bare loop of `invoke`, and the pipeline from a frame to the publisher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.bench.frames import MEMORY, Memory, clip_plan, first_frames, make_frames, memory_plan
from edge_infer.contract.codec import replace
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.threads import leave_to_models
from edge_infer.engine.worker import Worker
from edge_infer.errors import StartError
from edge_infer.frames.frame import Captured
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Acked
from edge_infer.plan.records import PipelinePlan

START: Final = 30.0
"""Seconds within which the first result must arrive."""
BATCH: Final = 0.005
"""Seconds of invokes between two reads of the clock."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames per second and, per frame, seconds of this process's processor time and of waiting for the frame."""

    rate: float
    cpu: float
    wait: float = 0.0


class Bare:
    """The bare loop: the input is filled once, and only `invoke` is called."""

    def __init__(self, plan: PipelinePlan, frame: Captured, threads: int | None = None) -> None:
        with LoadedModel(plan) as model:
            window = next(iter(model.frames(frame)), model.preprocess.example())
            model.feed(next(iter(model.parts(window))))
            filled = [model.interpreter.input(position).copy() for position in range(len(model.interpreter.inputs))]
        source = plan.model
        self.interpreter = Interpreter(source.path, threads or plan.threads, (), source.shapes, delegate=plan.delegate)
        names = {tensor.name: position for position, tensor in enumerate(self.interpreter.inputs)}
        for tensor, values in zip(model.interpreter.inputs, filled, strict=True):
            self.interpreter.input(names[tensor.name])[...] = values
        self.interpreter.invoke()

    def run(self, seconds: float) -> Run:
        """Run for ``seconds``, in batches, so that reading the clock costs nothing."""
        invoke = self.interpreter.invoke
        begun = time.perf_counter()
        invoke()
        batch = max(1, round(BATCH / max(1e-6, time.perf_counter() - begun)))
        done, cpu, begun = 0, time.process_time(), time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds:
            for _ in range(batch):
                invoke()
            done += batch
        return Run(done / spent, (time.process_time() - cpu) / done)

    def close(self) -> None:
        """Close the model."""
        self.interpreter.close()


class Whole:
    """The pipeline as the engine runs it, with the results sent to another process."""

    def __init__(self, plan: PipelinePlan, frames: list[Captured], clip: Path | None = None) -> None:
        """Prepare a run on ``frames`` in memory, or on the ``clip`` in a loop, as fast as possible."""
        leave_to_models()  # the engine does the same
        # Every frame is processed, regardless of motion and of the findings of another pipeline.
        self._plan = replace(plan, fps=None, motion=None, crops=None)
        self._frames = frames
        self._runs = 0
        self._source = clip_plan(clip) if clip else memory_plan(plan.model.input.takes)

    def run(self, seconds: float, channel: Channel) -> Run:
        """Run for ``seconds`` after the first result; raises `StartError` without a result.

        ``channel`` comes from `receiver.taker`. The same channel can be used for several runs, one after another.
        """
        self._runs += 1
        outlet = ResultSender(channel, f"{self._runs:06x}")  # an acknowledgement for the previous run has another id
        feed = make_feed(self._source)
        pipeline = Worker(self._plan, feed, outlet)
        pipeline.start()
        feed.start(Memory(self._frames) if self._source.kind == MEMORY else local_capture(self._source))
        try:
            return self._measure(outlet, channel, pipeline, seconds)
        finally:
            pipeline.stop()
            feed.close()
            pipeline.close()

    def _measure(self, outlet: ResultSender, channel: Channel, pipeline: Worker, seconds: float) -> Run:
        limit = time.monotonic() + START
        while pipeline.progress()[0] == 0:
            if time.monotonic() > limit:
                raise StartError(f"no outcome within {START:g} s: {pipeline.health().error or 'no error'}")
            listen(outlet, channel, 0.01)
        first, waited = pipeline.progress()
        cpu, begun = time.process_time(), time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds:
            listen(outlet, channel, min(0.1, max(0.0, seconds - spent)))
        done, since = pipeline.progress()
        spent, frames = time.perf_counter() - begun, max(1, done - first)
        return Run((done - first) / spent, (time.process_time() - cpu) / frames, (since - waited) / frames)


def listen(outlet: ResultSender, channel: Channel, seconds: float) -> None:
    """Serve an outlet for up to ``seconds``, as the engine's main thread does."""
    record = channel.wait(seconds)
    if isinstance(record, Acked):
        outlet.acked(record)
    outlet.flush()


def frames_for(plan: PipelinePlan, size: tuple[int, int], clip: Path | None = None) -> list[Captured]:
    """Return frames in memory for a plan; raises `SourceError` for a clip that cannot be read."""
    if clip is not None:
        return first_frames(clip)
    with LoadedModel(plan) as model:
        return make_frames(model, size)
