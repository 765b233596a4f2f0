"""A pipeline over a recording: as fast as it goes, on the recording's clock, with nothing published.

The frames go through the very `Pipeline.step` of the daemon. Time is the position in the recording, and ``ts`` is 1970
plus that; so the same recording and configuration say the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_infer.config.plan import PipelinePlan, SourcePlan
from edge_infer.engine.analyse.instant import Instant
from edge_infer.engine.frame import Captured, Frame, Line, Samples
from edge_infer.engine.health import PipelineWatch
from edge_infer.engine.outcome import Composer
from edge_infer.engine.pipeline import Pipeline
from edge_infer.engine.serving import Serving
from edge_infer.engine.tasks import Findings
from edge_infer.engine.voice import Voice
from edge_infer.messages import Event, Result, State
from edge_infer.readers.orient import Orientation
from edge_infer.readers.pacer import Pacer
from edge_infer.readers.sources import Block, Picture, Reading, first, make_source

Said = Result | Event | State
KINDS = {Result: "result", Event: "event", State: "state"}


@dataclass(frozen=True, slots=True)
class Replayed:
    """A frame that went through the pipeline, what was found, and what was said."""

    frame: Captured
    findings: Findings
    said: tuple[Said, ...]


class Recorder:
    """What a pipeline says, in order, numbered as the engine numbers it."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._said: list[Said] = []
        self._numbers = {"result": 0, "event": 0, "object": 0}

    def hand_over(self, _pipeline: str, make: Callable[[int], Result], _at: float | None = None) -> int:
        """A result."""
        self._said.append(make(self._next("result")))
        return self._numbers["result"]

    def happened(self, _pipeline: str, make: Callable[[int], Event], _at: float | None = None) -> int:
        """An event."""
        self._said.append(make(self._next("event")))
        return self._numbers["event"]

    def state(self, _pipeline: str, state: State, _at: float | None = None) -> None:
        """A state."""
        self._said.append(state)

    def new_object(self, _pipeline: str) -> int:
        """An id."""
        return self._next("object")

    def numbered(self, _pipeline: str) -> int:
        """The highest number of a result."""
        return self._numbers["result"]

    def take(self) -> tuple[Said, ...]:
        """What was said since the last call."""
        said, self._said = tuple(self._said), []
        return said

    def _next(self, kind: str) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]


def replay(plan: PipelinePlan, source: SourcePlan, boot: str, *, paced: bool) -> Iterator[Replayed]:
    """Every frame of a recording; the last one carries what the end of the recording ends.

    With ``paced`` the limits of frames a second hold, as with a camera. Raises `EdgeInferError`.
    """
    recorder = Recorder(boot)
    pipeline = Pipeline(Voice(plan.name, recorder), PipelineWatch(0.0))
    pacer = Pacer(plan.fps if paced else None)
    serving = Serving(plan, boot, lambda: recorder.new_object(plan.name))
    serving.compose = Composer(plan, boot, timed=False)
    serving.load()
    try:
        last: Replayed | None = None
        for taken in _frames(source, paced=paced):
            for frame in serving.model.frames(taken):
                if not pacer.due(frame.instant.moment):
                    continue
                if last is not None:
                    yield last
                findings = pipeline.step(serving, frame)
                last = Replayed(serving.mask(frame), findings, recorder.take())  # masked in what is drawn, too
        if last is not None:
            end = last.frame.instant
            yield dataclasses.replace(last, said=last.said + _ended(plan, serving, recorder, end))
    finally:
        serving.close()


def _ended(plan: PipelinePlan, serving: Serving, recorder: Recorder, now: Instant) -> tuple[Said, ...]:
    for happening in serving.follow.end("source_ended", now):
        recorder.happened(plan.name, happening.numbered(recorder.boot))
    recorder.state(plan.name, serving.compose.nothing("source_ended", now.wall))
    return recorder.take()


def _frames(plan: SourcePlan, *, paced: bool) -> Iterator[Captured]:
    """What a source reads, stamped with its place in the recording."""
    orientation, pacer = Orientation(plan.rotate, plan.flip), Pacer(plan.fps if paced else None)
    number, position = 0, 0.0
    with make_source(plan) as source:
        while (reading := source.read()) is not None:
            number += 1
            position = _position(reading, position, number)
            if not isinstance(reading, Picture) or pacer.due(position):
                yield _captured(first(reading) if number == 1 else reading, orientation, number, position)


def _position(reading: Reading, before: float, number: int) -> float:
    """Seconds from the start: of a line of text its number, of samples the time of the last."""
    if isinstance(reading, Picture):
        return (reading.position or 0.0) if reading.position is not None else before
    return before + len(reading.values) / reading.rate if isinstance(reading, Block) else float(number)


def _captured(reading: Reading, orientation: Orientation, number: int, at: float) -> Captured:
    if isinstance(reading, Picture):
        return Frame(orientation.copy(reading.pixels), reading.color, at, at, number)
    if isinstance(reading, Block):
        return Samples(reading.values, reading.rate, at, at, number, reading.gap)
    return Line(reading.text, at, at, number)
