"""Evaluates one model, or two side by side, on labelled examples, one example after the other."""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge_infer.contract.codec import dumps, replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.errors import ConfigError, InputError, shortened
from edge_infer.evaluate.bootstrap import Difference, could_be_chance, differences, intervals
from edge_infer.evaluate.class_names import ClassNames, check_known, check_renamed
from edge_infer.evaluate.class_tally import ClassTally
from edge_infer.evaluate.data import open_data
from edge_infer.evaluate.data_place import DataPlace
from edge_infer.evaluate.examples import LabelledBoxes, LabelledData, LabelledExample, NoteCounter, placed
from edge_infer.evaluate.golden_examples import GoldenExample
from edge_infer.evaluate.judge import ExampleJudge, make_judge
from edge_infer.evaluate.look import FLOOR, look, pipeline, read_frame
from edge_infer.evaluate.resume_file import LONGEST_NAME, ExampleOutcome, ResumeFile
from edge_infer.evaluate.scores import TaskScores, Wish, WorstMistakes
from edge_infer.frames.ffmpeg import without_chatter
from edge_infer.plan.records import InputPlan, Measured, ModelPlan
from edge_infer.platform.logs import printable

CLASSES: Final = ("detection", "classification")
"""Tasks with classes in their results."""

Progress = Callable[[int, int, int], None]
"""Callback with the number of finished examples, the number of these from an earlier run, and the number of all
examples."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of one model; ``latency`` is the median and the 95th percentile in seconds."""

    model: ModelPlan
    examples: int
    scores: TaskScores
    latency: tuple[float, float] | None
    worst: WorstMistakes
    golden: tuple[GoldenExample, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """The second model against the first, figure by figure; the first figure decides. ``sentence`` is the verdict."""

    differences: Mapping[str, Difference]
    sentence: str

    @property
    def main(self) -> Difference:
        """Return the difference that decides."""
        return next(iter(self.differences.values()))


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """One or two evaluations of the same data. ``noun`` names an example; ``unread`` counts unreadable examples."""

    data: str
    noun: str
    evaluations: tuple[Evaluation, ...]
    compared: Compared | None
    notes: tuple[str, ...]
    unread: int

    @property
    def titles(self) -> list[str]:
        """Return names that distinguish the models."""
        return _titles([each.model for each in self.evaluations])


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Options of an evaluation: renamed classes, requested operating points, and the number of golden examples."""

    renamed: Mapping[str, str]
    wishes: tuple[Wish, ...] = ()
    golden: int = 0
    resume: Path | None = None


def evaluate(
    place: DataPlace, plans: Sequence[ModelPlan], options: EvaluationOptions, progress: Progress
) -> EvaluationReport:
    """Evaluate the models on all examples. Raises `InputError`, `ConfigError` and `ModelError`."""
    data = open_data(place, plans[0])
    _check_alike(plans)
    classes = [_classes(data, plan, options.renamed, place) for plan in plans]
    run = _Run(data, plans, classes, options)
    with ExitStack() as stack:
        with without_chatter():
            models = [stack.enter_context(LoadedModel(pipeline(plan))) for plan in plans]
        kept = stack.enter_context(ResumeFile(options.resume, _question(place, plans, options.renamed)))
        run.go(models, kept, progress)
    return run.report(place)


class _Run:
    """One pass over the data."""

    def __init__(
        self, data: LabelledData, plans: Sequence[ModelPlan], classes: Sequence[ClassNames], options: EvaluationOptions
    ) -> None:
        self._data, self._plans, self._classes, self._options = data, plans, classes, options
        kept = frozenset.intersection(*(each.known for each in classes))
        self._notes = [NoteCounter() for _ in plans]
        self._judges: list[ExampleJudge] = [
            make_judge(plan, names, kept, notes, options.golden)
            for plan, names, notes in zip(plans, classes, self._notes, strict=True)
        ]
        self._seconds = [array("d") for _ in plans]
        self._unread = 0

    def go(self, models: Sequence[LoadedModel], kept: ResumeFile, progress: Progress) -> None:
        """Take every example: use its earlier outcome if the file has one, else run the models on the example."""
        earlier = kept.earlier()
        before = next(earlier, None)
        read = 0
        for done, example in enumerate(self._data, 1):
            if before is not None:
                self._check(before, example)
                outcome, before, read = before, next(earlier, None), done
            else:
                outcome = self._outcome(models, example)
                kept.add(outcome)
            self._take(example, outcome)
            progress(done, read, len(self._data))

    def _check(self, outcome: ExampleOutcome, example: LabelledExample) -> None:
        """Raise `InputError` unless an outcome of an earlier run can belong to this example."""
        picture = isinstance(self._plans[0].input, InputPlan)
        whole = len(outcome.looked) == len(self._plans) and (outcome.size is not None or not picture)
        same = (outcome.number, outcome.name) == (example.number, _name(example))
        if not same or not (whole or outcome.unread):
            raise InputError("--resume: the outcomes in the file belong to other labels; name a new file")

    def _outcome(self, models: Sequence[LoadedModel], example: LabelledExample) -> ExampleOutcome:
        try:
            picture = isinstance(self._plans[0].input, InputPlan)
            frame = read_frame(example) if picture else None
            looked = [look(model, example, frame, names) for model, names in zip(models, self._classes, strict=True)]
        except InputError as error:
            return ExampleOutcome(example.number, _name(example), unread=printable(shortened(str(error))))
        size = frame.size if frame is not None else None
        return ExampleOutcome(example.number, _name(example), size, tuple(looked))

    def _take(self, example: LabelledExample, outcome: ExampleOutcome) -> None:
        if outcome.unread:
            self._unread += 1
            self._data.notes.add("inputs that cannot be read, skipped", outcome.unread)
            return
        if isinstance(example.label, LabelledBoxes) and outcome.size is not None:
            true = placed(example.label, outcome.size, example.name, self._data.notes)
            example = dataclasses.replace(example, label=true)
        for judge, looked, seconds, notes in zip(self._judges, outcome.looked, self._seconds, self._notes, strict=True):
            judge.add(example, looked, outcome.size)
            seconds.append(looked.seconds)
            if looked.failed:
                notes.add("inputs that made the model fail, counted as nothing found", looked.failed)

    def report(self, place: DataPlace) -> EvaluationReport:
        """Return the figures; raises `InputError` if no example could be used."""
        if not all(judge.tally.examples for judge in self._judges):
            raise InputError(f"{place.labels}: nothing could be evaluated: {'; '.join(self._data.notes.sentences())}")
        rows = zip(self._plans, self._judges, self._seconds, self._notes, strict=True)
        evaluations = tuple(self._evaluation(*row) for row in rows)
        notes = [*self._unknown(), *self._data.notes.sentences()]
        return EvaluationReport(
            str(place.labels), self._noun(), evaluations, self._compared(), tuple(notes), self._unread
        )

    def _evaluation(
        self, plan: ModelPlan, judge: ExampleJudge, seconds: array[float], notes: NoteCounter
    ) -> Evaluation:
        tally = judge.tally
        scores = tally.scores(plan.threshold, self._options.wishes)
        between = intervals(tally.figures(), tally.examples, tally.work)
        scores.intervals.update(zip(tally.compared, between, strict=True))
        median, late = np.quantile(np.array(seconds), [0.5, 0.95]).tolist()
        return Evaluation(
            plan, tally.examples, scores, (median, late), judge.worst, tuple(judge.golden.chosen()),
            tuple(notes.sentences()),
        )  # fmt: skip

    def _noun(self) -> str:
        """Return the word for one example."""
        kind = self._plans[0].input.takes
        return "row" if self._data.in_rows else {"image": "picture", "samples": "recording", "text": "text"}[kind]

    def _unknown(self) -> list[str]:
        """Return a sentence for the classes that a model does not know."""
        sentences = []
        for plan, names in zip(self._plans, self._classes, strict=True):
            if plan.task in CLASSES and names.unknown:
                notes = NoteCounter()
                for name in names.unknown:
                    notes.add(f"classes of the labels that {plan.title} does not know, skipped", name)
                sentences += notes.sentences()
        return sentences

    def _compared(self) -> Compared | None:
        if len(self._judges) == 1:
            return None
        first, second = (judge.tally for judge in self._judges)
        found = differences(
            first.figures(), second.figures(), first.examples, first.work + second.work,
            more_is_better=first.more_is_better,
        )  # fmt: skip
        named = dict(zip(first.compared, found, strict=True))
        if isinstance(first, ClassTally) and isinstance(second, ClassTally):
            named["accuracy"] = _doubted(named["accuracy"], first, second)
        values = [judge.tally.figures()(np.ones(judge.tally.examples)) for judge in self._judges]
        return Compared(
            named,
            _sentence(_titles(self._plans), named, [float(each[0]) for each in values], first.examples, self._noun()),
        )


def _name(example: LabelledExample) -> str:
    return printable(example.name)[-LONGEST_NAME:]


def _doubted(found: Difference, first: ClassTally, second: ClassTally) -> Difference:
    """Return the difference, with the verdict ``unclear`` if it may be chance by the exact test for few inputs."""
    one, other = first.right(), second.right()
    chance = could_be_chance(int((one & ~other).sum()), int((other & ~one).sum()))
    return Difference(found.value, found.interval, "unclear" if chance else found.verdict)


def _sentence(
    titles: Sequence[str], named: Mapping[str, Difference], values: Sequence[float], count: int, noun: str
) -> str:
    figure, found = next(iter(named.items()))
    many = counted(count, noun)
    between = f"95 % interval {found.interval.low:+.4f} to {found.interval.high:+.4f}"
    if not found.known:
        between = "too few for an interval"
    numbers = f"{figure} {values[1]:.4g} against {values[0]:.4g}, a difference of {found.value:+.4f} ({between})"
    if found.verdict == "unclear":
        return f"whether {titles[1]} is better or worse than {titles[0]} cannot be told from {many}: {numbers}"
    return f"{titles[1]} is {found.verdict} than {titles[0]} on {many}: {numbers}"


def _titles(plans: Sequence[ModelPlan]) -> list[str]:
    """Return names that distinguish the models."""
    same = len({plan.title for plan in plans}) < len(plans)
    return [f"{plan.title} ({plan.sha256[:8]})" if same else plan.title for plan in plans]


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _classes(data: LabelledData, plan: ModelPlan, renamed: Mapping[str, str], place: DataPlace) -> ClassNames:
    check_renamed(renamed, data.names)
    names = ClassNames(data.names, plan.labels, renamed)
    if plan.task in CLASSES:
        check_known(names, plan.labels, str(place.labels))
    return names


def _check_alike(plans: Sequence[ModelPlan]) -> None:
    first = plans[0]
    for plan in plans[1:]:
        if (plan.task, plan.input.takes) != (first.task, first.input.takes):
            raise ConfigError(
                f"{plan.title} is for {plan.task} of {plan.input.takes} and {first.title} for {first.task} of "
                f"{first.input.takes}; evaluate compares models of the same kind"
            )
        if [value.name for value in plan.values] != [value.name for value in first.values]:
            raise ConfigError(
                f"{plan.title} and {first.title} return values with different names; evaluate compares only models "
                "with the same names of values in the same order"
            )


def _question(place: DataPlace, plans: Sequence[ModelPlan], renamed: Mapping[str, str]) -> str:
    """Return a digest of everything that the outcomes depend on; the files of the examples are not read for it."""
    found = place.labels.stat()
    asked = [
        FLOOR,
        printable(str(place.labels)),
        printable(str(place.folder)),
        found.st_size,
        found.st_mtime_ns,
        sorted(renamed.items()),
    ]
    models = [replace(plan, measured=Measured(), question="", entry="", origin="", signed="") for plan in plans]
    return hashlib.sha256(dumps([asked, models])).hexdigest()
