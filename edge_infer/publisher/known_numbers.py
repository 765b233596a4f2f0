"""Plausibility check of an engine's numbers: object ids, sequence numbers of results, line counts, and start times.

Ids and sequence numbers grow. The check removes a number from the message if it is neither near the newest one nor was
published recently, so that an engine cannot encode data in the number. An engine also cannot change what it has
published about the past.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
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
from edge_infer.plan.switch_time import switch_seconds
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.publisher.timestamps import date, seconds

REACH: Final = 512
"""Maximum difference between an id and the newest id, in either direction."""
MAX_RECENT: Final = 1024
"""Maximum number of recently published ids that stay known beyond this difference, for objects that stay long."""
MAX_FREE: Final = 64
FREE_PER_SECOND: Final = 16 / 3600
"""Number of ids of a pipeline that may have any value, for all engines together: at once, and added per second. A
publisher that starts after the engine does not know the earlier ids. A pipeline that rarely publishes skips many."""
SEQ_REACH: Final = 1024
"""Maximum difference between the number of a parent's result and the newest number."""
LINE_REACH: Final = 1024
"""Maximum increase of a line's count from one state to the next."""
SAME: Final = 0.002
"""Seconds by which two statements of the same time may differ because of rounding."""
MAX_BEGUN: Final = 16384
"""Maximum number of begin events that are remembered for the check of their ends."""
MAX_OPEN: Final = 256
"""Maximum number of ids of open events that stay known: an engine opens no more in one pipeline."""
MAX_BOOTS: Final = 4
"""Maximum number of engine runs for which ids and other numbers stay known."""
Moment = TypeVar("Moment", State, Event)
Key = TypeVar("Key")
_BEGINS: Final = frozenset({"appear", "enter", "start", "drift"})
_ENDS: Final = frozenset({"leave", "exit", "end", "drift_end"})


class KnownIds:
    """Known ids of the objects of one pipeline, from one engine."""

    def __init__(self, free: TokenBucket) -> None:
        """Start without ids. Each id that may be anywhere takes a token of ``free``."""
        self.newest = 0
        self._free = free
        self._open: Counter[int] = Counter()
        self._recent: dict[int, None] = {}

    def follow(self, number: int, event: EventType) -> None:
        """Keep the id of an open event known until the event ends."""
        if event in _BEGINS:
            self._open[number] += 1
            if len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
        elif event in _ENDS:
            self._open[number] -= 1
            self._open = +self._open if self._open[number] <= 0 else self._open

    def admits(self, number: int) -> bool:
        """Return whether an object may have this id. If so, the id is known from now on."""
        if number in self._recent:
            del self._recent[number]
        elif abs(number - self.newest) > REACH and number not in self._open and not self._free.take():
            self.newest += REACH if number > self.newest else 0  # ids of an honest engine are soon accepted again
            return False
        self.newest = max(self.newest, number)
        self._recent[number] = None
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        return True


class KnownNumbers:
    """The known numbers of all pipelines, over successive engines."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, KnownIds]] = {}  # by boot (engine id) and pipeline
        self.fresh: str | None = None
        """The newest engine that started after this process. It begins to count at 0."""
        self._free: dict[str, TokenBucket] = {}  # by pipeline: an engine that ends itself gets no new ones
        self._seqs: dict[tuple[str, str], int] = {}
        self._lines: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._states: dict[str, tuple[str, float, float]] = {}  # boot, start, and capture time of the last state
        self._begun: dict[tuple[object, ...], tuple[float, float]] = {}  # start, and capture time of the begin event
        self._began: float | None = None  # start of the last checked event, until `taken` is called
        self._times: dict[tuple[str, str], float] = {}
        self._steps: dict[str, float] = {}
        self._above: dict[str, str | None] = {}
        self._plan: Plan | None = None
        self._tracked: dict[str, float] = {}  # pipelines with ids, and the capture time until which they have them
        self._types: dict[tuple[str, EventType], float] = {}  # types of events of a pipeline, in the same way

    def apply(self, plan: Plan, at: float = 0.0) -> None:
        """Set the pipelines of a plan received at this uptime. The engine needs some time to switch to the plan."""
        until = at + (0.0 if self._plan is None else switch_seconds(self._plan, plan))
        self._plan = plan
        _renew(self._tracked, [each.name for each in plan.pipelines if each.track], until)
        _renew(self._types, [(each.name, kind) for each in plan.pipelines for kind in event_types(each)], until)
        self._steps = {each.name: TIME_STEPS[each.detail] for each in plan.pipelines if each.detail != "full"}
        self._above = {each.name: tracked_above(plan, each) for each in plan.pipelines if each.crops}

    def engine_rested(self) -> None:
        """Forget earlier plans: an engine that starts with full budgets has only the current one."""
        self._tracked = {key: end for key, end in self._tracked.items() if end == math.inf}
        self._types = {key: end for key, end in self._types.items() if end == math.inf}

    def captured(self, pipeline: str, kind: str, at: float, now: float) -> float:
        """Return a plausible capture time: not in the future, not before the previous one, rounded for ``coarse``."""
        at = self._rounded(pipeline, min(at, now))
        key = (pipeline, kind)  # over all engines: a new engine captures nothing of the past
        at = self._times[key] = max(at, self._times.get(key, 0.0))
        return at

    def made(self, pipeline: str, message: Result | Event, at: float) -> float:
        """Return the uptime that selects the plan for a message captured ``at``.

        The end event of a known event follows the plan of its begin event, so that each event can end.
        """
        if not isinstance(message, Event) or message.type not in _ENDS:
            return at
        return min(at, self._begun.get(_key(pipeline, message), (0.0, at))[1])

    def result(self, pipeline: str, result: Result, at: float = 0.0) -> Result:
        """Return the result without its implausible numbers.

        ``at`` is the uptime that selects the plan with the permitted ids.
        """
        if result.seq > self._seqs.get((pipeline, result.boot), 0):
            self._seqs[pipeline, result.boot] = result.seq
        if result.objects is not ABSENT and any(each.id or each.parent for each in result.objects):
            own, above = self._of(result.boot, pipeline, at), self._parents(result.boot, pipeline, at)
            found = tuple([_object(each, own, above) for each in result.objects])
            if found != result.objects:
                result = replace(result, objects=found)
        if result.parent is not ABSENT:
            parent = self._parent(pipeline, result.boot, result.parent, at)
            result = result if parent == result.parent else replace(result, parent=parent)
        return result

    def state(self, pipeline: str, state: State, at: float, made: float = 0.0) -> State:
        """Return the state without its implausible numbers.

        ``at`` is its capture time; ``made`` is the uptime that selects the plan with the permitted ids.

        The start of a state is its own capture time, or the start of the previous state. The first state of an engine
        starts after the last state of the previous engine, and no state starts before the board booted. Raises
        `WireError`.
        """
        if isinstance(state.ids, Mapping):
            known = self._of(state.boot, pipeline, made)
            ids = {label: tuple(filter(known.admits, found)) for label, found in state.ids.items()} if known else ABSENT
            state = state if ids == state.ids else replace(state, ids=ids)
        if isinstance(state.answers, tuple):
            above = self._parents(state.boot, pipeline, made)
            answers = tuple(_answer(answer, above) for answer in state.answers)
            state = state if answers == state.answers else replace(state, answers=answers)
        if isinstance(state.lines, Mapping):
            lines = {name: self._line(pipeline, state.boot, name, counts) for name, counts in state.lines.items()}
            state = state if lines == state.lines else replace(state, lines=lines)
        return self._since_of_state(pipeline, state, at)

    def event(self, pipeline: str, event: Event, at: float, made: float = 0.0) -> Event:
        """Return the event without its implausible numbers. An end event has the start time of its begin event.

        ``at`` is its capture time; ``made`` is the uptime that selects the plan with permitted types, ids and boxes.

        Raises `WireError` for a type of event that the pipeline does not have, and for a time that is not a calendar
        date.
        """
        if made >= self._types.get((pipeline, event.type), -math.inf):
            raise WireError(f"{pipeline} has no events of type {event.type}")
        self._began = None
        known = self._parents(event.boot, pipeline, made) or self._of(event.boot, pipeline, made)
        # The end event of a known event keeps the id of its begin event. Its key stays the same, so the event ends
        # once.
        if event.id is not ABSENT and not (event.type in _ENDS and _key(pipeline, event) in self._begun):
            event = event if known and known.admits(event.id) else replace(event, id=ABSENT)
        if event.box is not ABSENT and made >= self._tracked.get(pipeline, -math.inf):
            event = replace(event, box=ABSENT)
        if event.since is ABSENT:
            return event
        began = at - (seconds(event.ts) - seconds(event.since))
        key, said = _key(pipeline, event), self._rounded(pipeline, began)
        if event.type not in _BEGINS and key in self._begun:
            return self._since(pipeline, event, at, began, self._begun[key][0])
        if said < at - MAX_BEFORE:
            return replace(event, since=ABSENT)
        self._began = said
        return self._since(pipeline, event, at, began, said)

    def recall(self, pipeline: str, event: Event, at: float) -> None:
        """Record a begin event, captured ``at``, that an earlier process admitted."""
        if event.since is not ABSENT:
            began = at - (seconds(event.ts) - seconds(event.since))
            self._begun.setdefault(_key(pipeline, event), (self._rounded(pipeline, began), at))

    def taken(self, pipeline: str, event: Event, at: float = 0.0) -> None:
        """Record an event that the publisher has admitted.

        ``event`` is the last return value of the method `event`; ``at`` is its capture time.
        """
        made = self.made(pipeline, event, at)
        known = self._parents(event.boot, pipeline, made) or self._of(event.boot, pipeline, made)
        if known and event.id is not ABSENT:
            known.follow(event.id, event.type)
        key = _key(pipeline, event)
        if event.type in _ENDS:
            self._begun.pop(key, None)
        elif event.type in _BEGINS and self._began is not None:
            self._begun[key] = self._began, at
            if len(self._begun) > MAX_BEGUN:
                del self._begun[next(iter(self._begun))]

    def _rounded(self, pipeline: str, at: float) -> float:
        """Return a time with the precision with which the pipeline publishes it."""
        step = self._steps.get(pipeline)
        return int(at / step) * step if step else at

    def _of(self, boot: str, pipeline: str, made: float) -> KnownIds | None:
        """Return the known ids of a pipeline; None if its objects have no ids under the plan at ``made``."""
        if made >= self._tracked.get(pipeline, -math.inf):
            return None
        pipelines = self._ids.setdefault(boot, {})
        if len(self._ids) > MAX_BOOTS:
            gone = next(iter(self._ids))
            del self._ids[gone]
            self._seqs = {key: seq for key, seq in self._seqs.items() if key[1] != gone}
            self._lines = {key: counts for key, counts in self._lines.items() if key[1] != gone}
        if (known := pipelines.get(pipeline)) is None:
            free = self._free.setdefault(pipeline, TokenBucket(MAX_FREE, FREE_PER_SECOND))
            known = pipelines[pipeline] = KnownIds(free)
        return known

    def _parents(self, boot: str, pipeline: str, made: float) -> KnownIds | None:
        """Return the known ids of the parent objects of a cascade; None if they have no ids."""
        above = self._above.get(pipeline)
        return None if above is None else self._of(boot, above, made)

    def _parent(self, pipeline: str, boot: str, parent: Parent, made: float) -> Parent:
        above, newest = self._parents(boot, pipeline, made), self._seqs.get((parent.pipeline, boot))
        if parent.id is not ABSENT and not (above and above.admits(parent.id)):
            parent = replace(parent, id=ABSENT)
        if parent.seq is not ABSENT and (newest is None or abs(parent.seq - newest) > SEQ_REACH):
            parent = replace(parent, seq=ABSENT)
        return parent

    def _line(self, pipeline: str, boot: str, name: str, counts: LineCounts) -> LineCounts:
        key = (pipeline, boot, name)
        before = self._lines.get(key, (0, 0) if boot == self.fresh else None)
        left, right = counts.left, counts.right
        if before is not None:
            left, right = _crossed(left, before[0]), _crossed(right, before[1])
        self._lines[key] = left, right
        return counts if (left, right) == (counts.left, counts.right) else LineCounts(left, right)

    def _since_of_state(self, pipeline: str, state: State, at: float) -> State:
        if state.since is ABSENT:
            state = replace(state, since=state.ts)  # an engine always states it
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
        """Return an event or state, captured ``at``, with the start time ``began``.

        In a pipeline with full detail, the claimed start stays if it differs from ``began`` only by rounding.
        """
        if abs(claimed - began) <= SAME and pipeline not in self._steps:
            return record
        return replace(record, since=date(seconds(record.ts) - max(0.0, at - began)))


def _renew(known: dict[Key, float], present: Iterable[Key], until: float) -> None:
    """Set the end of the previous plan's keys to ``until``.

    Keys of the current plan have no end; older ones keep theirs.
    """
    known.update({key: until for key, end in known.items() if end == math.inf})
    known.update(dict.fromkeys(present, math.inf))


def _key(pipeline: str, event: Event) -> tuple[object, ...]:
    """Return the key that a begin event and its end event share, and also a stay in a zone and its loiter event."""
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
    """Return a plausible count of crossings: slightly more than before, or a count that started again."""
    return now if before <= now < before + LINE_REACH or now < LINE_REACH else before + LINE_REACH - 1
