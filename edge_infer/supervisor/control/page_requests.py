"""Requests that only the local page makes: an overview, the scene, recent events, scores and drift."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edge_infer.contract.codec import Record, ShortText, decode, encode, field
from edge_infer.contract.messages import BoardHealth, Label, Task
from edge_infer.errors import WireError
from edge_infer.ipc.drift import DriftAnswer, DriftQuestion
from edge_infer.ipc.messages import EventsAnswer, EventsQuestion, ScoresAnswer, ScoresQuestion
from edge_infer.plan.records import Anchor, Gives, InputPlan, LinePlan, PipelinePlan, Plan, Polygon, Resize, ZonePlan
from edge_infer.platform.board import ProcessorLoad, hottest, memory_used, throttled
from edge_infer.platform.clock import MADE, synchronised
from edge_infer.supervisor.control.server import MAX_ECHO, Request
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.status import Status
from edge_infer.yamlfile.scalars import plain

PAGE_MAY: Final = frozenset({"overview", "scene", "drawing", "look", "events", "scores", "drift", "why", "models"})
"""Requests that a page's process may make, whether it runs in its unit or for a command. It is restricted because it
parses the input of browsers."""


def page_refusal(request: Request) -> str | None:
    """Return the reason why the page's user may not make a request; None if it may, and for any other user."""
    return refusal_for_page(request.body) if request.peer.is_page else None


def refusal_for_page(body: Mapping[str, object]) -> str | None:
    """Return the reason why a page's process may not make this request; None if it may."""
    wanted = body.get("do")
    if isinstance(wanted, str) and wanted in PAGE_MAY and body.get("action") not in ("retry", "accept"):
        return None
    return f"the page may not ask for {plain(repr(wanted), MAX_ECHO)}"


# State of the device in one answer.


class Overview(Record, frozen=True):
    """The status together with the values of the health message.

    ``now`` is the clock of the device, ``user`` the person who asks.
    """

    user: ShortText
    device: ShortText
    clock: Literal["ok", "unsynced"]
    now: float
    watched: bool
    board: BoardHealth
    status: Status


class BoardWatch:
    """Reads the board's sensors below ``root``; the load is measured since the previous reading."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._load = ProcessorLoad(root)

    def overview(self, user: str, device: str, status: Status, *, watched: bool) -> Overview:
        """Return the current overview."""
        board = BoardHealth(
            self._load.since_last(), memory_used(self._root), hottest(self._root), throttled(self._root)
        )
        known, now = synchronised(), time.time()
        right = known if known is not None else now >= MADE
        return Overview(user, device, "ok" if right else "unsynced", round(now, 3), watched, board, status)


# The drawable part of the configuration: masks, zones, lines and thresholds of the plan, and nothing else.


class SceneSource(Record, frozen=True):
    """A source: its kind, and the kind of data that it gives."""

    kind: ShortText
    gives: Gives


class SceneZone(Record, frozen=True):
    """A zone as in `ZonePlan`."""

    polygon: Polygon
    labels: tuple[Label, ...] | None
    anchor: Anchor
    loiter: float | None


class SceneLine(Record, frozen=True):
    """A line as in `LinePlan`; ``from_`` is its start point."""

    from_: tuple[float, float]
    to: tuple[float, float]
    labels: tuple[Label, ...] | None
    anchor: Anchor


class SceneInput(Record, frozen=True):
    """How a frame is fitted into the model's picture; columns and rows of tiles, if there are any."""

    resize: Resize
    tiles: tuple[int, int] | None


class ScenePipeline(Record, frozen=True):
    """A pipeline.

    Its zones and lines are drawn in pictures of ``source``. ``thresholds`` are the lowest and the highest score
    threshold that an edit may set.
    """

    source: ShortText
    cascade: bool
    model: ShortText
    title: ShortText
    task: Task
    threshold: float
    thresholds: tuple[float, float] | None
    labels: tuple[Label, ...]
    track: bool
    may_track: bool
    why_no_places: ShortText
    mask: tuple[Polygon, ...]
    zones: Mapping[ShortText, SceneZone]
    lines: Mapping[ShortText, SceneLine]
    input: SceneInput | None


class DrawnScene(Record, frozen=True):
    """The drawable part of the configuration with this digest."""

    digest: ShortText
    device: ShortText
    sources: Mapping[ShortText, SceneSource] = field(default_factory=dict)
    pipelines: Mapping[ShortText, ScenePipeline] = field(default_factory=dict)


def scene(plan: Plan) -> DrawnScene:
    """Return the drawable part of a plan."""
    sources = {each.name: SceneSource(each.kind, each.gives) for each in plan.sources if each.parent is None}
    pipelines = {each.name: _pipeline(plan, each) for each in plan.pipelines}
    return DrawnScene(plan.digest, plan.device, sources, pipelines)


def _pipeline(plan: Plan, each: PipelinePlan) -> ScenePipeline:
    model, why = each.model, ""
    if model.task != "detection":
        why = f"zones and lines need a detector; this is a model of task {model.task}"
    elif each.crops is not None:
        why = f"this pipeline looks at parts of the picture; draw in the pipeline {each.crops.pipeline}"
    elif each.track is None:
        why = "zones and lines need track: true in the pipeline; add it with edge-infer edit"
    return ScenePipeline(
        source=plan.root(each.source),
        cascade=each.crops is not None,
        model=model.name,
        title=model.title,
        task=model.task,
        threshold=each.threshold,
        thresholds=(0.0, 1.0) if model.task in ("detection", "classification", "pose") else None,
        labels=each.labels or model.labels,
        track=each.track is not None,
        may_track=model.task == "detection" and each.crops is None and each.track is None,
        why_no_places=why,
        mask=each.mask,
        zones={zone.name: _zone(zone) for zone in each.zones},
        lines={line.name: _line(line) for line in each.lines},
        input=_input(each),
    )


def _zone(zone: ZonePlan) -> SceneZone:
    return SceneZone(zone.polygon, zone.labels, zone.anchor, zone.loiter)


def _line(line: LinePlan) -> SceneLine:
    return SceneLine(line.start, line.end, line.labels, line.anchor)


def _input(each: PipelinePlan) -> SceneInput | None:
    plan = each.model.input
    if not isinstance(plan, InputPlan):
        return None
    return SceneInput(plan.resize, None if plan.tiles == (1, 1) else plan.tiles)


# Recent events, scores and drift, which the engine remembers.

MAX_WAITING: Final = 16
RECALL_SECONDS: Final = 5.0


_Asked: TypeAlias = tuple[type, str | None]
"""Type of the expected answer, and the pipeline if the question is about scores."""
_ANSWERS: Final[Mapping[type, type]] = {
    EventsQuestion: EventsAnswer,
    ScoresQuestion: ScoresAnswer,
    DriftQuestion: DriftAnswer,
}


class PendingRecalls:
    """Passes questions about recent events, scores and drift to the engine."""

    def __init__(self, house: ProcessSupervisor) -> None:
        self._house = house
        self._waiting: deque[tuple[float, _Asked, Request]] = deque()  # with the deadline

    def begin(self, request: Request) -> None:
        """Pass a question to the engine, or answer it with an error."""
        question: EventsQuestion | ScoresQuestion | DriftQuestion = EventsQuestion()
        if request.body.get("do") == "drift":
            question = DriftQuestion()
        elif request.body.get("do") == "scores":
            try:
                question = decode(ScoresQuestion, {"pipeline": request.body.get("pipeline")})
            except WireError:
                request.answer({"error": "scores need the name of a pipeline"})
                return
        if len(self._waiting) >= MAX_WAITING:
            request.answer({"busy": "the daemon is busy with other requests; try again in a moment"})
        elif not self._house.ask_engine(question):
            request.answer({"error": "the engine is not running; try again in a moment"})
        else:
            asked = (_ANSWERS[type(question)], question.pipeline if isinstance(question, ScoresQuestion) else None)
            self._waiting.append((time.monotonic() + RECALL_SECONDS, asked, request))

    def go_on(self) -> None:
        """Answer the questions that the engine has answered, and those that are overdue."""
        for answer in self._house.take_recalled():
            self._answer(answer)
        while self._waiting and self._waiting[0][0] < time.monotonic():
            self._waiting.popleft()[2].answer({"error": f"the engine did not answer within {RECALL_SECONDS:.0f} s"})

    def close(self) -> None:
        """Close the connections of all waiting requests."""
        for _, _, request in self._waiting:
            request.close()
        self._waiting.clear()

    def _answer(self, answer: EventsAnswer | ScoresAnswer | DriftAnswer) -> None:
        asked = (type(answer), answer.pipeline if isinstance(answer, ScoresAnswer) else None)
        for entry in self._waiting:
            if entry[1] == asked:
                self._waiting.remove(entry)
                entry[2].answer(encode(answer))
                return
