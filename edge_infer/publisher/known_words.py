"""The words of plans: the labels of each model, and the labels, places and sizes of each pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, Event, ModelStatus, Result, State, Value
from edge_infer.contract.topics import Place
from edge_infer.errors import WireError
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.publisher.allowed_texts import AllowedWords, ModelWords, PipelineWords

MOST_DIGESTS: Final = 256
"""Number of model files with remembered labels: messages taken before a model switch may leave after it."""


@dataclass(slots=True)
class KnownWords:
    """Words by the digest of the model file, and by the name of the pipeline; those of earlier plans stay."""

    labels: dict[str, frozenset[str]] = field(default_factory=dict)
    titles: dict[str, frozenset[str]] = field(default_factory=dict)
    decimals: dict[str, dict[str, int]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)
    told: dict[str, set[str]] = field(default_factory=dict)
    above: dict[str, set[str]] = field(default_factory=dict)

    def apply(self, plan: Plan) -> None:
        """Add the words of a plan."""
        for pipeline in plan.pipelines:
            self._add(pipeline)
            above = {label for each in plan.parents(pipeline) for label in each.model.labels}
            self.above.setdefault(pipeline.name, set()).update(above)
        for sha in list(self.labels)[:-MOST_DIGESTS]:
            del self.labels[sha], self.titles[sha], self.decimals[sha]

    def _add(self, pipeline: PipelinePlan) -> None:
        model = pipeline.model
        sha = model.sha256[:8]
        declared = {word for value in model.values for word in (value.name, value.unit)}
        self.labels[sha] = self.labels.pop(sha, frozenset()) | set(model.labels) | declared
        steps = {value.name: value.decimals() for value in model.values}
        known = self.decimals.pop(sha, {})  # of another model of the same file, with other steps
        self.decimals[sha] = known | {name: max(most, known.get(name, 0)) for name, most in steps.items()}
        self.titles[sha] = self.titles.pop(sha, frozenset()) | {model.title}
        self.limits[pipeline.name] = max(self.limits.pop(pipeline.name, 0), pipeline.max_payload)
        names = (*(zone.name for zone in pipeline.zones), *(line.name for line in pipeline.lines))
        self.places.setdefault(pipeline.name, set()).update(names)
        self.told.setdefault(pipeline.name, set()).update(pipeline.labels or model.labels, declared)

    def learn(self, words: AllowedWords) -> None:
        """Load the vocabulary of plans of earlier processes, before the first `apply`."""
        for model in words.models:
            self.labels[model.sha], self.titles[model.sha] = frozenset(model.labels), frozenset(model.titles)
            self.decimals[model.sha] = dict(model.decimals)
        for pipeline in words.pipelines:
            self.limits[pipeline.name], self.places[pipeline.name] = pipeline.limit, set(pipeline.places)
            self.told[pipeline.name], self.above[pipeline.name] = set(pipeline.labels), set(pipeline.above)

    def recall(self, begun: Iterable[tuple[str, Event]]) -> None:
        """Add the words of events that an earlier process admitted."""
        for pipeline, event in begun:
            self.limits.setdefault(pipeline, MAX_MESSAGE_BYTES)
            self.places.setdefault(pipeline, set()).update(event.places())
            self.told.setdefault(pipeline, set()).update([] if event.label is ABSENT else [event.label])

    def check(self, place: Place, record: object) -> None:
        """Raise `WireError` for a record with another pipeline, model, label or place, or with too many decimals."""
        if place.kind in ("result", "event", "state"):
            self._check_pipelines((place.name,))
        if isinstance(record, ModelStatus):
            for each in (record.shadow, record.delegate):
                self._check_pipelines(each if isinstance(each, Mapping) else ())
        if isinstance(record, (Result, State)):
            self._check_model(record.sha, record.model)
            words = record.words()
            _check_labels(words, self.labels[record.sha])
            _check_labels(words, self.told[place.name])
            for values in (record.values, *(each.values for each in getattr(record, "answers", None) or ())):
                _check_decimals(values, self.decimals.get(record.sha, {}))
            self._check_parents(place, record)
        if isinstance(record, Event) and record.label is not ABSENT:
            _check_labels((record.label,), self.told[place.name])
        if isinstance(record, (Event, State)):
            _check_places(record.places(), self.places[place.name])

    def _check_pipelines(self, found: Iterable[str]) -> None:
        for name in found:
            if name not in self.limits:
                raise WireError(f"the configuration has no pipeline {name!r}")

    def _check_model(self, sha: str, title: str) -> None:
        if sha not in self.labels:
            raise WireError(f"no model of the configuration has the digest {sha}")
        if title not in self.titles[sha]:
            raise WireError(f"{title!r} is not the title of the model {sha}")

    def _check_parents(self, place: Place, record: Result | State) -> None:
        """Check the labels and the pipeline of the parent objects in the output of a cascade."""
        above = self.above.get(place.name, set())
        if isinstance(record, State):
            _check_labels([answer.label for answer in record.answers or ()], above)
        elif record.parent is not ABSENT:
            _check_labels((record.parent.label,), above)
            self._check_pipelines((record.parent.pipeline,))

    def words(self) -> AllowedWords:
        """Return the vocabulary as it is remembered, the oldest entries first."""
        models = (
            ModelWords(sha, tuple(sorted(labels)), tuple(sorted(self.titles[sha])), self.decimals[sha])
            for sha, labels in self.labels.items()
        )
        pipelines = (
            PipelineWords(
                name, limit, *(tuple(sorted(of.get(name, ()))) for of in (self.places, self.told, self.above))
            )
            for name, limit in self.limits.items()
        )
        return AllowedWords(tuple(models), tuple(pipelines))


def _check_labels(found: Sequence[str], known: set[str] | frozenset[str]) -> None:
    if not known.issuperset(found):
        unknown = next(label for label in found if label not in known)
        raise WireError(f"{unknown!r} is not among the labels of the model")


def _check_places(found: Iterable[str], known: AbstractSet[str]) -> None:
    for name in found:
        if name not in known:
            raise WireError(f"{name!r} is neither a zone nor a line of the pipeline")


def _check_decimals(values: tuple[Value, ...] | Absent | None, known: Mapping[str, int]) -> None:
    for value in values if isinstance(values, tuple) else ():
        most = known.get(value.name, 0)
        if value.value is not None and value.value != round(value.value, most):
            raise WireError(f"{value.value} has too many decimals; {value.name!r} has at most {most}")
