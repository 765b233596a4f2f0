"""Canonical form of results, events and states: each outcome has exactly one record.

So an engine cannot hide data in additional digits or in the order of items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final, Literal, TypeVar

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import (
    Anomaly,
    Answer,
    DetectedObject,
    Event,
    EventType,
    Parent,
    Pose,
    Result,
    ScoredLabel,
    Segment,
    State,
    Task,
    Value,
)
from edge_infer.contract.precision import PRECISIONS, Precision, class_rank, object_rank, pose_rank, segment_rank
from edge_infer.errors import WireError
from edge_infer.plan.outcome_limits import MAX_OBJECTS, CountedLabels, has_shares, most_items, state_rows
from edge_infer.plan.records import PipelinePlan, ValuePlan

Item = TypeVar("Item", DetectedObject, ScoredLabel, Pose, Segment)
_PLACED: Final[Mapping[EventType, str]] = {"enter": "zone", "exit": "zone", "loiter": "zone", "cross": "line"}
"""The field that names the place, for each type of event about a place."""
_ENDS: Final = frozenset({"leave", "exit", "end", "drift_end"})


@dataclass(frozen=True, slots=True)
class OutcomeForm:
    """Limits that the plan of a pipeline sets for its messages.

    - ``least`` is the lowest score, ``most`` the maximum number of items in a result.
    - With ``sums`` a state counts at most ``most`` objects in total. ``rows`` is the maximum number of rows that a
      state may omit.
    - ``shares`` and ``stills``: whether results have these fields.
    - ``values`` are the values of a regression, in order.
    - ``answers``: whether states have answers of a cascade. ``counted`` holds the labels that states count, by model.

    While messages of an earlier plan may still arrive, the `joined` form also allows what that plan allowed. The
    precision is always that of the newest plan.
    """

    precision: Precision
    tasks: frozenset[Task]
    state_keys: frozenset[str]
    models: frozenset[str]
    least: float
    most: int
    thresholds: frozenset[float]
    shares: bool = False
    stills: bool = True
    sums: bool = False
    rows: int = MAX_OBJECTS
    values: Mapping[str, ValuePlan] = field(default_factory=dict)
    answers: bool = False
    counted: Mapping[str, CountedLabels] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: PipelinePlan) -> OutcomeForm:
        """Return the form that the plan of a pipeline defines."""
        model, precision = plan.model, PRECISIONS[plan.detail]
        return cls(
            precision,
            frozenset({model.task}),
            frozenset({plan.state_key}),
            frozenset({model.sha256[:8]}),
            precision.score(max(0.0, min(1.0, plan.floor))),
            most_items(plan),
            frozenset({round(plan.threshold, 3)}),
            has_shares(plan),
            plan.motion is not None,
            not plan.track and not plan.crops,
            state_rows(plan),
            {value.name: value for value in model.values},
            plan.crops is not None,
            {model.sha256[:8]: CountedLabels.of(plan)},
        )

    def joined(self, earlier: OutcomeForm | None) -> OutcomeForm:
        """Return the form that also allows what an earlier plan allowed."""
        if earlier is None or earlier == self:
            return self
        return OutcomeForm(
            self.precision,
            self.tasks | earlier.tasks,
            self.state_keys | earlier.state_keys,
            self.models | earlier.models,
            min(self.least, earlier.least),
            max(self.most, earlier.most),
            self.thresholds | earlier.thresholds,
            self.shares or earlier.shares,
            self.stills or earlier.stills,
            self.sums and earlier.sums,
            max(self.rows, earlier.rows),
            {**earlier.values, **self.values},
            self.answers or earlier.answers,
            {**earlier.counted, **self.counted},
        )

    def result(self, result: Result) -> Result:
        """Return the canonical result; raises `WireError` if it has no canonical form.

        A result that is already canonical is returned as the same object.
        """
        if result.task not in self.tasks:
            raise WireError(f"the task of the result is {result.task}, not that of the pipeline's model")
        self._check_model(result.sha)
        changes: dict[str, Any] = {}
        if result.ms is not ABSENT and ((ms := self.precision.milliseconds(result.ms)) != result.ms or not ms):
            changes["ms"] = ms + 0.0  # -0.0 equals 0.0, and is another text
        for key, each, rank in _LISTS:
            if (items := getattr(result, key)) is not ABSENT:
                if (ordered := _ordered(items, each, rank, self)) is not items:
                    changes[key] = ordered
                if (more := self._more(result.more, len(items))) != result.more:
                    changes["more"] = more
                break
        else:
            if result.more is not ABSENT:
                changes["more"] = ABSENT
            if result.anomaly is not ABSENT:
                anomaly = self._anomaly(result.anomaly)
                if anomaly != result.anomaly or not (anomaly.score and anomaly.threshold):
                    changes["anomaly"] = anomaly
            elif result.values is not ABSENT and (values := self._values(result.values)) is not result.values:
                changes["values"] = values
        if result.still is not ABSENT and not self.stills:
            changes["still"] = ABSENT
        if result.parent is not ABSENT and (parent := self._parent(result.parent)) is not result.parent:
            changes["parent"] = parent
        return replace(result, **changes) if changes else result

    def state(self, state: State) -> State:
        """Return the canonical state; raises `WireError` if it has no canonical form."""
        self._check_model(state.sha)
        if all(getattr(state, key) is ABSENT for key in self.state_keys):
            raise WireError(
                f"a state of the pipeline must contain {' or '.join(sorted(self.state_keys))}".replace("_", "")
            )
        if self.sums and isinstance(state.counts, Mapping) and sum(state.counts.values()) > self.most:
            raise WireError(f"a state of the pipeline counts at most {self.most} objects")
        changes: dict[str, Any] = {}
        for key in ("counts", "zones", "lines"):
            if isinstance(counts := getattr(state, key), Mapping):
                changes[key] = _counts(counts)
        for key in ("zones", "lines"):
            if self.sums or not changes.get(key):
                changes[key] = ABSENT
        if isinstance(state.ids, Mapping):
            changes["ids"] = _ids(state.ids)
        if isinstance(state.anomaly, Anomaly):
            changes["anomaly"] = self._anomaly(state.anomaly)
        if isinstance(state.values, tuple):
            changes["values"] = self._values(state.values)
        if isinstance(state.answers, tuple):
            changes["answers"] = tuple(self._answer(answer) for answer in state.answers) if self.answers else ABSENT
        if state.more is not ABSENT:
            lists = self.answers or isinstance(state.counts, Mapping)
            changes["more"] = (lists and min(state.more, self.rows)) or ABSENT
        state, counted = replace(state, **changes), self.counted.get(state.sha)
        return state if counted is None else counted.filled(state)

    def event(self, event: Event) -> Event:
        """Return the canonical event; raises `WireError` if it has no canonical form.

        An event that is already canonical is returned as the same object.
        """
        place = _PLACED.get(event.type)
        wanted = ["direction", "line"] if place == "line" else [place] if place else []
        if (found := [key for key in ("direction", "line", "zone") if getattr(event, key) is not ABSENT]) != wanted:
            expected = " and ".join(wanted) or "no place"
            raise WireError(f"an event {event.type} has {', '.join(found) or 'no place'}; expected {expected}")
        if event.kind is not ABSENT:
            return _drift(event)
        if event.label is ABSENT and "anomaly" not in self.tasks:
            raise WireError(f"an event {event.type} of the pipeline must contain a label")
        changes: dict[str, Any] = {}
        if event.reason is not ABSENT and event.type not in _ENDS:
            changes["reason"] = ABSENT
        if event.score is not ABSENT:
            score = self._event_score(event)
            if score != event.score or not score:
                changes["score"] = score
        if event.box is not ABSENT:
            changes["box"] = self.precision.box(event.box)
        return replace(event, **changes) if changes else event

    def _event_score(self, event: Event) -> float:
        assert event.score is not ABSENT
        if event.label is ABSENT and "anomaly" in self.tasks:
            return self.precision.distance(event.score)
        return max(self.least, self.precision.score(min(1.0, event.score)))

    def _check_model(self, sha: str) -> None:
        if sha not in self.models:
            raise WireError(f"no model of this pipeline has the digest {sha}")

    def _more(self, more: int | Absent, items: int) -> int | Absent:
        return more if more is ABSENT else min(more, self.most - items) or ABSENT

    def _anomaly(self, anomaly: Anomaly) -> Anomaly:
        nearest = min(self.thresholds, key=lambda each: (abs(each - anomaly.threshold), each))
        return Anomaly(self.precision.distance(anomaly.score) + 0.0, nearest + 0.0, anomaly.state)

    def _values(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return the values in the order of the manifest. A value outside its bounds becomes null."""
        order = {name: index for index, name in enumerate(self.values)}
        places = [order.get(value.name, -1) for value in values]
        if -1 in places or places != sorted(set(places)):
            raise WireError("the values are not the values of the model in the order of its manifest")
        found = tuple(_value(value, self.values[value.name]) for value in values)
        return values if all(a is b for a, b in zip(found, values, strict=True)) else found

    def _parent(self, parent: Parent) -> Parent:
        box, score = self.precision.box(parent.box), self.precision.score(parent.score) + 0.0
        if box == parent.box and score == parent.score and score and all(box):
            return parent
        return replace(parent, box=box, score=score)

    def _answer(self, answer: Answer) -> Answer:
        anomaly = ABSENT if answer.anomaly is ABSENT else self._anomaly(answer.anomaly)
        values = ABSENT if answer.values is ABSENT else self._values(answer.values)
        counts = ABSENT if answer.counts is ABSENT else _counts(answer.counts)
        return replace(answer, anomaly=anomaly, values=values, counts=counts)


def _ordered(
    items: tuple[Item, ...],
    each: Callable[[Item, OutcomeForm], Item],
    rank: Callable[[Item], Any],
    form: OutcomeForm,
) -> tuple[Item, ...]:
    """Return the items in canonical form and order. If nothing has to change, return the same tuple."""
    if len(items) > form.most:
        raise WireError(f"{len(items)} items exceed the limit of {form.most}")
    found = [each(item, form) for item in items]
    ordered = sorted(found, key=rank) if len(found) > 1 else found
    return items if all(map(is_, ordered, items)) else tuple(ordered)


def _object(item: DetectedObject, form: OutcomeForm) -> DetectedObject:
    precision = form.precision
    box, score = precision.box(item.box), max(form.least, precision.score(item.score))
    share = precision.place(item.share) if form.shares and item.share is not ABSENT else ABSENT
    if box == item.box and score == item.score and share == item.share and score and all(box) and share != 0.0:
        return item
    return replace(item, box=box, score=score, share=share)


def _class(item: ScoredLabel, form: OutcomeForm) -> ScoredLabel:
    score = max(form.least, form.precision.score(item.score))
    return item if score == item.score and score else ScoredLabel(item.label, score)


def _pose(item: Pose, form: OutcomeForm) -> Pose:
    place, score = form.precision.place, form.precision.score
    points = tuple([(place(x), place(y), score(seen) + 0.0) for x, y, seen in item.points])
    found = Pose(max(form.least, score(item.score)), points)
    return item if found == item and found.score and all(map(all, points)) else found


def _segment(item: Segment, form: OutcomeForm) -> Segment:
    share = form.precision.place(item.share)
    return item if share == item.share and share else Segment(item.label, share)


def _drift(event: Event) -> Event:
    """Return a drift event reduced to its kind and timestamps; a begin event also keeps its shift."""
    reason = event.reason if event.type in _ENDS else ABSENT
    shift: tuple[float, float] | Absent = (
        ABSENT if event.shift is ABSENT or event.type in _ENDS else (event.shift[0] + 0.0, event.shift[1] + 0.0)
    )
    return replace(event, label=ABSENT, id=ABSENT, score=ABSENT, box=ABSENT, reason=reason, shift=shift)


_LISTS: Final[tuple[tuple[str, Callable[..., Any], Callable[..., Any]], ...]] = (
    ("objects", _object, object_rank),
    ("classes", _class, class_rank),
    ("poses", _pose, pose_rank),
    ("segments", _segment, segment_rank),
)
"""The item lists of a result, each with the canonical form and the order of its items."""


def _value(value: Value, plan: ValuePlan) -> Value:
    number = value.value
    low, high = plan.min, plan.max
    if number is not None:
        number = plan.rounded(number)
        if (low is not None and number < plan.rounded(low)) or (high is not None and number > plan.rounded(high)):
            number = None
    implausible: Literal[True] | Absent = True if number is None else ABSENT
    same = (number, plan.unit, implausible) == (value.value, value.unit, value.implausible)
    return value if same and number else Value(plan.name, number, plan.unit, implausible)


def _ids(ids: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the ids by label: labels are sorted, none is empty, and each id has one label."""
    found: dict[str, tuple[int, ...]] = {}
    seen: set[int] = set()
    for label, numbers in sorted(ids.items()):
        if fresh := tuple(sorted(set(numbers) - seen)):
            found[label] = fresh
        seen.update(numbers)
    return found


def _counts(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts with sorted labels, each count within its limit; counts of 0 are left out.

    Counts of lines and zones are nested.
    """
    return {
        name: min(count, MAX_OBJECTS)
        if isinstance(count, int)
        else _counts(count)
        if isinstance(count, Mapping)
        else count
        for name, count in sorted(counts.items())
        if count != 0
    }
