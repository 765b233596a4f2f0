"""The numbers that an engine may publish: ids of objects and of results, counts of lines, times of beginnings.

Ids and numbers grow. One that is neither near the newest nor was published lately is left out, so that it carries no
data. What an engine claims about the past has to agree with what it claimed before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeVar

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import (
    Answer,
    DetectedObject,
    Event,
    EventType,
    LineCounts,
    Parent,
    Result,
    State,
)
from edge_infer.contract.precision import TIME_STEPS
from edge_infer.errors import WireError
from edge_infer.plan.outcome_limits import MAX_BEFORE, event_types, tracked_above
from edge_infer.plan.records import Plan
from edge_infer.publisher.timestamps import date, seconds

REACH: Final = 512
"""How far an id may be from the newest one, in either direction."""
MAX_RECENT: Final = 1024
"""Ids further away that stay known, because they were published lately: those of objects that stay for long."""
MAX_FREE: Final = 64
"""Ids of a boot that may be anywhere, because a publisher that starts later does not know those of before."""
SEQ_REACH: Final = 1024
"""How far the number of a parent's result may be from the newest one."""
LINE_REACH: Final = 1024
"""Crossings of a line from one state to the next."""
SAME: Final = 0.002
"""Seconds by which two statements of one time may differ, by rounding."""
MAX_BEGUN: Final = 16384
"""Begins of events that are remembered for their ends."""
MAX_OPEN: Final = 256
"""Ids of open events that stay known: an engine opens no more in a pipeline."""
MAX_BOOTS: Final = 4
"""Engines whose ids are known."""
Moment = TypeVar("Moment", State, Event)
_BEGINS: Final = frozenset({"appear", "enter", "start", "drift"})
_ENDS: Final = frozenset({"leave", "exit", "end", "drift_end"})


class KnownIds:
    """The ids of the objects of one pipeline in one boot."""

    def __init__(self) -> None:
        self.newest = 0
        self._free = MAX_FREE
        self._open: Counter[int] = Counter()
        self._recent: dict[int, None] = {}

    def follow(self, number: int, event: EventType) -> None:
        """Keep the id of an open event known until its end."""
        if event in _BEGINS:
            self._open[number] += 1
            if len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
        elif event in _ENDS:
            self._open[number] -= 1
            self._open = +self._open if self._open[number] <= 0 else self._open

    def admits(self, number: int) -> bool:
        """Whether an object may have this id; if so, it is known from now on."""
        if number in self._recent:
            del self._recent[number]
        elif abs(number - self.newest) > REACH and number not in self._open:
            if not self._free:
                self.newest += REACH if number > self.newest else 0  # an honest engine is followed soon
                return False
            self._free -= 1  # this process may have started after the engine
        self.newest = max(self.newest, number)
        self._recent[number] = None
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        return True


class KnownNumbers:
    """What is known of the numbers of all pipelines; one engine after another."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, KnownIds]] = {}  # by boot and pipeline
        self._seqs: dict[tuple[str, str], int] = {}
        self._lines: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._states: dict[str, tuple[str, float, float]] = {}  # boot, when it began and when it was captured
        self._begun: dict[tuple[object, ...], float] = {}
        self._began: float | None = None  # of the newest event, until it is taken
        self._times: dict[tuple[str, str], float] = {}
        self._steps: dict[str, float] = {}
        self._above: dict[str, str | None] = {}
        self._tracked: set[str] = set()
        self._types: dict[str, set[EventType]] = {}

    def apply(self, plan: Plan) -> None:
        """Use the pipelines of a plan."""
        self._steps = {each.name: TIME_STEPS[each.detail] for each in plan.pipelines if each.detail != "full"}
        self._tracked.update(each.name for each in plan.pipelines if each.track)
        for each in plan.pipelines:
            self._types.setdefault(each.name, set()).update(event_types(each))
        self._above = {each.name: tracked_above(plan, each) for each in plan.pipelines if each.crops}

    def captured(self, pipeline: str, kind: str, at: float, now: float) -> float:
        """Return the time of a capture: not in the future, not before the one before, and rounded for ``coarse``."""
        at = self._rounded(pipeline, min(at, now))
        key = (pipeline, kind)  # of one engine after another: none sees what the one before has seen
        at = self._times[key] = max(at, self._times.pop(key, 0.0))
        if len(self._times) > MAX_RECENT:
            del self._times[next(iter(self._times))]
        return at

    def result(self, pipeline: str, result: Result) -> Result:
        """Return a result without the numbers that cannot be."""
        if result.seq > self._seqs.get((pipeline, result.boot), 0):
            self._seqs[pipeline, result.boot] = result.seq
        if result.objects is not ABSENT and any(each.id or each.parent for each in result.objects):
            own, above = self._of(result.boot, pipeline), self._parents(result.boot, pipeline)
            found = tuple([_object(each, own, above) for each in result.objects])
            if found != result.objects:
                result = replace(result, objects=found)
        if result.parent is not ABSENT:
            parent = self._parent(pipeline, result.boot, result.parent)
            result = result if parent == result.parent else replace(result, parent=parent)
        return result

    def state(self, pipeline: str, state: State, at: float) -> State:
        """Return a state without the numbers that cannot be; it began with itself or with the state before.

        The first state of an engine began after the last one of the engine before, and no state before the kernel.
        Raises `WireError`.
        """
        if isinstance(state.ids, Mapping):
            known = self._of(state.boot, pipeline)
            ids = {label: tuple(filter(known.admits, found)) for label, found in state.ids.items()} if known else ABSENT
            state = state if ids == state.ids else replace(state, ids=ids)
        if isinstance(state.answers, tuple):
            above = self._parents(state.boot, pipeline)
            answers = tuple(_answer(answer, above) for answer in state.answers)
            state = state if answers == state.answers else replace(state, answers=answers)
        if isinstance(state.lines, Mapping):
            lines = {name: self._line(pipeline, state.boot, name, counts) for name, counts in state.lines.items()}
            state = state if lines == state.lines else replace(state, lines=lines)
        return self._since_of_state(pipeline, state, at)

    def event(self, pipeline: str, event: Event, at: float) -> Event:
        """Return an event without the numbers that cannot be; its end began when its begin did.

        Raises `WireError` for an event of a type that the pipeline does not have, and for one dated to no calendar.
        """
        if event.type not in self._types.get(pipeline, (event.type,)):
            raise WireError(f"{pipeline} has no events of type {event.type}")
        self._began = None
        known = self._parents(event.boot, pipeline) or self._of(event.boot, pipeline)
        if event.id is not ABSENT:
            event = event if known and known.admits(event.id) else replace(event, id=ABSENT)
        if event.box is not ABSENT and pipeline not in self._tracked:
            event = replace(event, box=ABSENT)
        if event.since is ABSENT:
            return event
        began = at - (seconds(event.ts) - seconds(event.since))
        key, said = _key(pipeline, event), self._rounded(pipeline, began)
        if event.type not in _BEGINS and key in self._begun:
            return self._since(pipeline, event, at, began, self._begun[key])
        if said < at - MAX_BEFORE:
            return replace(event, since=ABSENT)
        self._began = said
        return self._since(pipeline, event, at, began, said)

    def taken(self, pipeline: str, event: Event) -> None:
        """Learn from the event that `event` has just returned, after it was admitted."""
        known = self._parents(event.boot, pipeline) or self._of(event.boot, pipeline)
        if known and event.id is not ABSENT:
            known.follow(event.id, event.type)
        key = _key(pipeline, event)
        if event.type in _ENDS:
            self._begun.pop(key, None)
        elif event.type in _BEGINS and self._began is not None:
            self._begun[key] = self._began
            if len(self._begun) > MAX_BEGUN:
                del self._begun[next(iter(self._begun))]

    def _rounded(self, pipeline: str, at: float) -> float:
        """Return a time as coarse as the pipeline publishes it."""
        step = self._steps.get(pipeline)
        return int(at / step) * step if step else at

    def _of(self, boot: str, pipeline: str) -> KnownIds | None:
        """Return the ids of a pipeline; None if its objects have none."""
        if pipeline not in self._tracked:
            return None
        pipelines = self._ids.setdefault(boot, {})
        if len(self._ids) > MAX_BOOTS:
            gone = next(iter(self._ids))
            del self._ids[gone]
            self._seqs = {key: seq for key, seq in self._seqs.items() if key[1] != gone}
            self._lines = {key: counts for key, counts in self._lines.items() if key[1] != gone}
        return pipelines.setdefault(pipeline, KnownIds())

    def _parents(self, boot: str, pipeline: str) -> KnownIds | None:
        """Return the ids of the objects that a cascade looks at; None if they have none."""
        above = self._above.get(pipeline)
        return None if above is None else self._of(boot, above)

    def _parent(self, pipeline: str, boot: str, parent: Parent) -> Parent:
        above, newest = self._parents(boot, pipeline), self._seqs.get((parent.pipeline, boot))
        if parent.id is not ABSENT and not (above and above.admits(parent.id)):
            parent = replace(parent, id=ABSENT)
        if parent.seq is not ABSENT and (newest is None or abs(parent.seq - newest) > SEQ_REACH):
            parent = replace(parent, seq=ABSENT)
        return parent

    def _line(self, pipeline: str, boot: str, name: str, counts: LineCounts) -> LineCounts:
        key = (pipeline, boot, name)
        before = self._lines.get(key)
        left, right = counts.left, counts.right
        if before is not None:
            left, right = _crossed(left, before[0]), _crossed(right, before[1])
        self._lines[key] = left, right
        return counts if (left, right) == (counts.left, counts.right) else LineCounts(left, right)

    def _since_of_state(self, pipeline: str, state: State, at: float) -> State:
        if state.since is ABSENT:
            state = replace(state, since=state.ts)  # an engine always says it
        assert state.since is not ABSENT
        claimed = at - (seconds(state.ts) - seconds(state.since))
        began = self._rounded(pipeline, max(0.0, claimed))
        boot, before, captured = self._states.get(pipeline, (state.boot, began, at))
        if boot != state.boot:
            before = max(began, captured)
        elif began > captured + SAME:
            before = at
        self._states[pipeline] = state.boot, before, at
        return self._since(pipeline, state, at, claimed, before)

    def _since(self, pipeline: str, record: Moment, at: float, claimed: float, began: float) -> Moment:
        """Return an event or state, captured ``at``, that began when it did; what it claims may differ by rounding."""
        if abs(claimed - began) <= SAME and pipeline not in self._steps:
            return record
        return replace(record, since=date(seconds(record.ts) - max(0.0, at - began)))


def _key(pipeline: str, event: Event) -> tuple[object, ...]:
    """Return what begin and end of an event share, and a stay in a zone with its loitering."""
    begins = {"leave": "appear", "exit": "enter", "end": "start", "loiter": "enter", "drift_end": "drift"}
    kind = begins.get(event.type, event.type)
    return pipeline, event.boot, kind, event.id, event.zone, event.label if kind == "start" else event.kind


def _object(item: DetectedObject, own: KnownIds | None, above: KnownIds | None) -> DetectedObject:
    number: int | Absent = item.id and (item.id if own and own.admits(item.id) else ABSENT)
    parent: int | Absent = item.parent and (item.parent if above and above.admits(item.parent) else ABSENT)
    return item if (number, parent) == (item.id, item.parent) else replace(item, id=number, parent=parent)


def _answer(answer: Answer, above: KnownIds | None) -> Answer:
    return answer if answer.id is ABSENT or (above and above.admits(answer.id)) else replace(answer, id=ABSENT)


def _crossed(now: int, before: int) -> int:
    """Return a count of crossings: a little more than before, or counted anew."""
    return now if before <= now < before + LINE_REACH or now < LINE_REACH else before + LINE_REACH - 1
