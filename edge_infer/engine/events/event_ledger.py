"""Ledger of open events: every published begin event gets exactly one end event, and limits hold back excess events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import DriftKind, Event, EventType, FractionBox, Reason, timestamp
from edge_infer.contract.precision import FULL, Precision
from edge_infer.engine.events.decision_record import Decisions
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import EventsPlan
from edge_infer.platform.rate_limits import MessageBudget

T = TypeVar("T")

ENDS: Final[Mapping[EventType, EventType]] = {"appear": "leave", "enter": "exit", "start": "end"}
"""The end event of each begin event."""
RESERVED: Final[Mapping[EventType, float]] = {"appear": 0.25}
"""Share of the event budget that an event of this type must leave for more important events; 0 for types that are not
listed. Zones and lines leave nothing, because the user drew them on purpose."""
MOST_OPEN: Final = 256
"""Maximum number of open events of one pipeline; at this number no further event begins."""

Key: TypeAlias = tuple[EventType, "int | str | None", "str | None"]
"""Key of an open event: its type, its object (id) or label, and its zone."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Event without a sequence number; ``since`` is the start time of its cause. Its values are not rounded yet."""

    type: EventType
    when: Instant
    since: Instant | None = None
    label: str | None = None
    number: int | None = None
    zone: str | None = None
    line: str | None = None
    direction: Literal["left", "right"] | None = None
    score: float | None = None
    box: FractionBox | None = None
    reason: Reason | None = None
    kind: DriftKind | None = None
    shift: tuple[float, float] | None = None

    def numbered(self, boot: str, precision: Precision = FULL) -> Callable[[int], Event]:
        """Return a function that builds the message from its sequence number."""
        return partial(self.event, boot=boot, precision=precision)

    def event(self, seq: int, boot: str, precision: Precision = FULL) -> Event:
        """Build the message with this sequence number."""
        return Event(
            v=1,
            ts=timestamp(self.when.wall),
            boot=boot,
            seq=seq,
            type=self.type,
            label=_or_absent(self.label),
            id=_or_absent(self.number),
            zone=_or_absent(self.zone),
            line=_or_absent(self.line),
            direction=_or_absent(self.direction),
            score=ABSENT if self.score is None else self._rounded(self.score, precision),
            box=ABSENT if self.box is None else precision.box(self.box),
            since=ABSENT if self.since is None else timestamp(self.when.of(self.since)),
            reason=_or_absent(self.reason),
            kind=_or_absent(self.kind),
            shift=_or_absent(self.shift),
        )

    def _rounded(self, score: float, precision: Precision) -> float:
        """Return the score as published. An event without a label is an anomaly, and its score is a distance."""
        return precision.distance(score) if self.label is None else precision.score(score)


class Subject(Protocol):
    """Subject of an event: an object, a label or an anomaly."""

    best: float
    """The best score so far; the end event contains it."""


class EventLedger:
    """Open events of a pipeline.

    A published begin event gets exactly one end event. A begin event that a limit held back gets none.
    """

    def __init__(self, plan: EventsPlan | None, decisions: Decisions) -> None:
        """Start without open events; without a plan no event is published."""
        self.decisions = decisions
        self._plan = plan
        self._open: dict[Key, tuple[Happening, Subject] | None] = {}  # None: a limit held the begin event back
        self._budget = MessageBudget(plan.most) if plan else None
        self._told: dict[tuple[EventType, str | None, str | None], float] = {}
        self.held_back: Counter[str] = Counter()

    def begin(self, key: Key, what: Happening, about: Subject) -> tuple[Happening, ...]:
        """Begin an event that will end later. A key that is already open is ignored.

        Return the event if it is to be published, else nothing.
        """
        if key in self._open or self._plan is None:
            return ()
        told = self._may_tell(what, 2) and self._room(what)
        self._open[key] = (what, about) if told else None
        return (what,) if told else ()

    def point(self, what: Happening) -> tuple[Happening, ...]:
        """Return an event that has no end, if the event is to be published; else nothing."""
        return (what,) if self._plan is not None and self._may_tell(what, 1) else ()

    def end(
        self, key: Key, now: Instant, box: FractionBox | None = None, reason: Reason | None = None
    ) -> tuple[Happening, ...]:
        """End an open event, with the best score."""
        opened = self._open.pop(key, None)
        if opened is None:
            return ()
        begun, about = opened
        return (replace(begun, type=ENDS[begun.type], when=now, score=about.best, box=box, reason=reason),)

    def end_all(self, reason: Reason, now: Instant) -> tuple[Happening, ...]:
        """End all events for a reason outside the scene.

        Zone events end before the events of the objects in those zones.
        """
        order = sorted(self._open, key=lambda key: key[0] != "enter")
        return tuple(end for key in order for end in self.end(key, now, reason=reason))

    def _room(self, what: Happening) -> bool:
        if sum(begun is not None for begun in self._open.values()) < MOST_OPEN:
            return True
        return self._hold(what, "open", f"the maximum of {MOST_OPEN} open events is reached")

    def _may_tell(self, what: Happening, cost: int) -> bool:
        assert self._plan is not None
        assert self._budget is not None
        kind, moment = (what.type, what.label, what.zone or what.line), what.when.moment
        if moment - self._told.get(kind, -1e9) < self._plan.min_interval:
            return self._hold(what, "min_interval", f"min_interval is {self._plan.min_interval:g} s")
        if not self._budget.take(moment, cost, reserved=RESERVED.get(what.type, 0.0)):
            return self._hold(what, "most", f"more than {self._plan.most:g} events a minute")
        self._told[kind] = moment
        self._note(what, "told", "told")
        return True

    def _hold(self, what: Happening, limit: str, text: str) -> bool:
        self.held_back[limit] += 1
        self._note(what, limit, f"held back by the limit: {text}")
        return False

    def _note(self, what: Happening, stage: str, text: str) -> None:
        place = f" {what.zone or what.line}" if what.zone or what.line else ""
        who = f"#{what.number} " if what.number else ""
        stage = f"{stage} {what.type} {what.number}{place}"
        self.decisions.note(what.when.wall, what.label, what.score or 0.0, stage, f"{who}{what.type}{place}: {text}")


def _or_absent(value: T | None) -> T | Absent:
    return ABSENT if value is None else value
