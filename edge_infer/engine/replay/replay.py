"""Replays a recording through pipelines: as fast as possible, with the time of the recording, without publishing.

The frames go through the same `FramePipeline.step` as in the daemon. The clock is the position in the recording, and
``ts`` is 1970-01-01 plus that position. Therefore the same recording and configuration always produce the same bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Event, Result, State, timestamp
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.cascade.parent import CropsFeed
from edge_infer.engine.drift.watch import DriftWatch
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.motion.gate import Glance
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.engine.output.outcome import Composer
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.pipeline import FramePipeline
from edge_infer.engine.replay.detections import RecordedBoxes
from edge_infer.engine.replay.scene_picture import sentence
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.ffmpeg import without_chatter
from edge_infer.frames.frame import Captured, Frame, Line, Samples
from edge_infer.frames.pixels import Orientation
from edge_infer.frames.timing import Pacer
from edge_infer.plan.records import PipelinePlan, SourcePlan
from edge_infer.readers.sources import Block, Passed, Picture, Reading, first, make_source
from edge_infer.readers.sources.faults import settling

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

Said = Result | Event | State
KINDS = {Result: "result", Event: "event", State: "state"}


@dataclass(frozen=True, slots=True)
class Replayed:
    """A frame that went through a pipeline, its findings (in a cascade all answers), and its messages.

    ``decided`` are the decisions about the frame as sentences. With ``motion``, ``glance`` shows which parts the gate
    selected.
    """

    pipeline: str
    frame: Captured
    findings: Findings | Answers
    said: tuple[Said, ...]
    decided: tuple[str, ...] = ()
    glance: Glance | None = None


class MessageRecorder:
    """Collects the messages of a pipeline in order, with numbers as in the engine."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._said: list[Said] = []
        self._numbers = {"result": 0, "event": 0, "object": 0}

    def hand_over(self, _pipeline: str, make: Callable[[int], Result], _at: float | None = None) -> int:
        """Record a result."""
        self._said.append(make(self._next("result")))
        return self._numbers["result"]

    def happened(self, _pipeline: str, make: Callable[[int], Event], _at: float | None = None) -> int:
        """Record an event."""
        self._said.append(make(self._next("event")))
        return self._numbers["event"]

    def state(self, _pipeline: str, state: State, _at: float | None = None) -> None:
        """Record a state."""
        self._said.append(state)

    def new_object(self, _pipeline: str) -> int:
        """Return a new object id."""
        return self._next("object")

    def given(self) -> int:
        """Return 0: no message has to be sent anywhere."""
        return 0

    def written(self) -> int:
        """Return 0, like `given`."""
        return 0

    def await_room(self, _pipeline: str, stop: threading.Event) -> None:
        """Return at once: the caller takes each message before the next frame."""

    def numbered(self, _pipeline: str) -> int:
        """Return the highest number of a result."""
        return self._numbers["result"]

    def take(self) -> tuple[Said, ...]:
        """Return the messages since the last call."""
        said, self._said = tuple(self._said), []
        return said

    def _next(self, kind: str) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]


def replay(plans: Sequence[PipelinePlan], source: SourcePlan, boot: str, *, paced: bool) -> Iterator[Replayed]:
    """Yield every frame of a recording; the last one carries the messages that the end of the recording causes.

    The first of the ``plans`` gets the frames of the recording. The other plans are cascades, listed after their
    parents. Cascades process their crops of a frame before the next frame. With ``paced`` the limits of frames per
    second apply, as with a camera. Raises `EdgeInferError`.
    """
    with ExitStack() as stack:
        players = {plan.name: stack.enter_context(_Player(plan, boot, source, paced=paced)) for plan in plans}
        for plan in plans[1:]:
            assert plan.crops is not None
            cascade = players[plan.crops.pipeline].voice.cascade
            cascade.join((*cascade.feeds, players[plan.name].feed))
        first_player, *below = players.values()
        for taken in _frames(source, paced=paced):
            yield from first_player.play(taken)
            for player in below:
                if (shown := player.feed.next(player.cursor, 0.0)) is not None:
                    yield from player.play(shown)
        for player in players.values():
            yield from player.end()


def replay_detections(plan: PipelinePlan, boxes: RecordedBoxes, fps: float, boot: str) -> Iterator[Replayed]:
    """Yield every frame of a file of detections, which replace a model; limits of frames per second apply.

    The pictures are not known: all frames share an empty one that takes no memory, and there is no drift.
    """
    player = _Player(plan, boot, None, paced=True)
    width, height = boxes.size
    empty = np.broadcast_to(np.uint8(0), (height, width))
    for number, found in boxes.frames(plan):
        at = (number - 1) / fps
        yield from player.show(Frame(empty, "gray", at, at, number), found)
    yield from player.end()


class _Player:
    """One pipeline of a replay; a context manager.

    A frame is yielded when the next frame arrives, so that the last frame can carry the messages of the end.
    """

    def __init__(self, plan: PipelinePlan, boot: str, source: SourcePlan | None, *, paced: bool) -> None:
        """``source`` is the recording. Its drift is watched if the plan has ``drift``."""
        self.voice = PipelineOutput(plan.name, recorder := MessageRecorder(boot))
        self.feed = CropsFeed(SourcePlan(plan.source, "crops", "", False, False, {}))  # the feed of a cascade
        self.cursor = self.feed.attach()
        self._plan = plan
        self._recorder = recorder
        self._at = 0.0  # position in the recording
        self._drift = (
            None if source is None else DriftWatch(plan.name, source, clock=lambda: self._at, zone=time.gmtime)
        )
        self._pipeline = FramePipeline(self.voice, PipelineWatch(0.0), self._drift)
        self._pacer = Pacer(plan.fps if paced else None)
        self._serving = Serving(plan, boot, lambda: recorder.new_object(plan.name))
        self._serving.compose = Composer(plan, boot, timed=False)
        self._last: Replayed | None = None

    def __enter__(self) -> Self:
        """Load the model; raises `ModelError`."""
        with without_chatter():
            self._serving.load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving.close()

    def play(self, taken: Captured) -> Iterator[Replayed]:
        """Process a frame: all of it, or in a cascade all of its crops."""
        serving = self._serving
        for frame in serving.model.frames(taken):
            if not self._pacer.due(frame.instant.moment):
                continue
            yield from self._late()
            self._at = frame.instant.moment
            found = [self._pipeline.step(serving, part) for part in serving.follow.asks(frame)]
            findings = self._pipeline.settle(serving, frame) or found[0]
            self._keep(serving.mask(frame), findings)  # the picture that is drawn is masked, too

    def show(self, frame: Frame, found: Detections) -> Iterator[Replayed]:
        """Process a frame with given detections; the model need not be loaded."""
        if self._pacer.due(frame.instant.moment):
            yield from self._late()
            self._keep(frame, self._pipeline.finish(self._serving, frame, frame, found, still=False))

    def _keep(self, visible: Captured, findings: Findings | Answers) -> None:
        follow, said = self._serving.follow, self._recorder.take()
        decided = tuple(each.matter() for each in follow.decisions.now(visible.instant.wall))
        self._last = Replayed(self._plan.name, visible, findings, said, decided, self._serving.gate.glance)

    def end(self) -> Iterator[Replayed]:
        """Yield the last frame, with the messages that the end of the recording causes."""
        if self._last is None:
            return
        now, name = self._last.frame.instant, self._plan.name
        self._report_learning()
        precision = self._serving.compose.precision
        drifts = () if self._drift is None else self._drift.end("source_ended", now)
        for happening in (*self._serving.follow.end("source_ended", now), *drifts):
            self._recorder.happened(name, happening.numbered(self._recorder.boot, precision))
        self._recorder.state(name, self._serving.compose.nothing("source_ended", now.wall, timestamp(now.wall)))
        self._last = replace(self._last, said=self._last.said + self._recorder.take())
        yield from self._late()

    def _report_learning(self) -> None:
        """Warn if the recording was too short to learn from: without a reference, no drift is reported."""
        learned = {} if self._drift is None else self._drift.learned()
        if any(share < 1.0 for share in learned.values()):
            shares = ", ".join(f"{part} {int(share * 100)} %" for part, share in learned.items())
            log.warning(
                "pipeline %s: the recording was too short to learn its drift references (%s); it reports no drift "
                "before 100 %%",
                self._plan.name, shares,
            )  # fmt: skip

    def _late(self) -> Iterator[Replayed]:
        if self._last is not None:
            yield self._last
            self._last = None


def _frames(plan: SourcePlan, *, paced: bool) -> Iterator[Captured]:
    """Yield the items of a source, stamped with their position in the recording."""
    orientation, pacer = Orientation(plan.rotate, plan.flip), Pacer(plan.fps if paced else None)
    number, position = 0, 0.0
    with make_source(plan) as source, settling():
        while (reading := source.read()) is not None:
            if isinstance(reading, Passed):  # a failed reading need not be the end of the recording
                continue
            number += 1
            position = _position(reading, position, number)
            if not isinstance(reading, Picture) or pacer.due(position):
                yield _captured(first(reading) if number == 1 else reading, orientation, number, position)


def _position(reading: Reading, before: float, number: int) -> float:
    """Return the position in seconds: from the number of a line of text, or the time of the last sample."""
    if isinstance(reading, Picture):
        return before if reading.position is None else reading.position
    if isinstance(reading, Block):
        return before + (reading.left_out + len(reading.values)) / reading.rate
    return float(number)


def _captured(reading: Reading, orientation: Orientation, number: int, at: float) -> Captured:
    if isinstance(reading, Picture):
        return Frame(orientation.copy(reading.pixels), reading.color, at, at, number)
    if isinstance(reading, Block):
        return Samples(reading.values, reading.rate, at, at, number, reading.gap)
    return Line(reading.text, at, at, number)


# Comparison of the events of two runs over the same recording.


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a run. Ids of two runs cannot be compared, because they count objects in order of appearance."""

    pipeline: str
    event: Event

    @property
    def matter(self) -> tuple[object, ...]:
        """Properties that must be equal for two events to match."""
        event = self.event
        return self.pipeline, event.type, event.label, event.zone, event.line, event.direction

    @property
    def moment(self) -> float:
        """Seconds since the start of the recording."""
        return datetime.fromisoformat(self.event.ts.replace("Z", "+00:00")).timestamp()

    def __str__(self) -> str:
        return f"{self.pipeline}: {sentence(self.event)}"


def told(frames: Iterable[Replayed]) -> list[Told]:
    """Return the events of a run."""
    return [Told(replayed.pipeline, said) for replayed in frames for said in replayed.said if isinstance(said, Event)]


def difference(one: Sequence[Told], other: Sequence[Told], within: float) -> Iterator[tuple[str, Told]]:
    """Return the events that are only in ``one`` (``-``) or only in the ``other`` (``+``), by time.

    Two events match if they have the same properties and are at most ``within`` seconds apart; each event matches at
    most one event of the other run.
    """
    left = list(other)
    found: list[tuple[str, Told]] = []
    for each in one:
        near = [it for it in left if it.matter == each.matter and abs(it.moment - each.moment) <= within]
        if near:
            left.remove(min(near, key=lambda it: abs(it.moment - each.moment)))
        else:
            found.append(("-", each))
    found += [("+", each) for each in left]
    return iter(sorted(found, key=lambda entry: entry[1].moment))
