"""Explains a model's answers about one input: cuts it into cells, samples, and returns numbers and a sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

from edge_infer.engine.input.files import read_lines
from edge_infer.engine.input.recording import Average, read_recording, windows
from edge_infer.engine.model.loaded_model import LoadedModel, Look
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.errors import InputError
from edge_infer.explain.answers import Box, ExplainedAnswer, Wanted, choose
from edge_infer.explain.pictures import PictureCells, shrunk
from edge_infer.explain.sampling import Cells, Progress, Question, Sampled, Sampler
from edge_infer.explain.signals import signal_cells
from edge_infer.explain.words import WordCells
from edge_infer.frames.frame import Captured, Frame, Line, Pixels, Samples
from edge_infer.plan.records import ModelPlan, SignalPlan, TextPlan

TOLD: Final = 0.05
"""Minimum share of the evidence of a place that is named."""
PLACES: Final = 3
"""Maximum number of places that are named along a dimension."""
RELIABLE: Final = 0.5
"""Minimum rank correlation of the two halves of the masks for evidence that is reported as reliable."""
MEMORY: Final = 200
"""Number of windows before the explained one that a model with a memory takes again in each run."""

Place: TypeAlias = tuple[str, float]
"""A place in words, and the share of the positive evidence that lies there."""


class Cut(Question, Protocol):
    """An input cut into cells, for people: a `Question` that can name its cells."""

    @property
    def box(self) -> Box | None:
        """The box of the explained object in fractions of the whole picture; None if the answer has no box."""

    def names(self) -> Sequence[Sequence[str]]:
        """Return the place of each cell along each dimension, in words; empty for cells inside the answer's box."""

    def inside(self) -> Cells | None:
        """Return the share of each cell that lies in the answer's box; None if the answer has no box."""

    def grid(self, evidence: Cells) -> Mapping[str, Any]:
        """Return the evidence with the limits of the cells, for JSON."""


@dataclass(frozen=True, slots=True)
class Order:
    """Subject and options of an explanation; ``budget`` is the maximum number of runs of the model."""

    threshold: float
    wanted: Wanted
    seed: int
    budget: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one answer about the input ``name``.

    ``inside`` is the share of the positive evidence in the answer's box; None without a box or without such evidence.
    """

    name: str
    answer: ExplainedAnswer
    cut: Cut
    sampled: Sampled
    inside: float | None
    places: tuple[Place, ...]

    @property
    def reliable(self) -> bool:
        """Return whether the two halves of the masks agree well enough to rely on the evidence."""
        return self.sampled.agreement >= RELIABLE

    @property
    def text(self) -> str:
        """Return the explanation in a sentence."""
        what = f"{self.answer.label} {self.answer.score:.2f}"
        if self.sampled.stop == "unchanged":
            return f"nothing in the input changes the answer {what}: the model gives it for every mask"
        parts = [] if self.inside is None else [f"{self.inside:.0%} of the evidence lies inside the box"]
        parts += [f"{share:.0%} {'' if parts else 'of the evidence lies '}{name}" for name, share in self.places[:1]]
        parts += [f"{share:.0%} {name}" for name, share in self.places[1:]]
        told = ", ".join(parts) or "no part of the input supports the answer beyond chance"
        doubt = "the evidence is not reliable yet; " if parts and not self.reliable else ""
        return f"{what}: {doubt}{told} ({self._ended()})"

    def _ended(self) -> str:
        runs, agreement = self.sampled.runs, self.sampled.agreement
        if self.sampled.stop == "agreed":
            return f"{runs} masks, their halves agree: {agreement:.2f}"
        if self.sampled.stop == "interrupted":
            return f"interrupted after {runs} masks"
        return f"all masks used, {runs} of them count, their halves agree to {agreement:.2f}; --masks allows more"

    def facts(self, model: ModelPlan, seed: int) -> dict[str, Any]:
        """Return the explanation for JSON."""
        answer: dict[str, Any] = {"label": self.answer.label, "score": _number(self.answer.score)}
        if self.cut.box is not None:
            answer["box"] = [_number(side) for side in self.cut.box]
        return {
            "input": self.name,
            "model": model.title,
            "sha": model.sha256[:8],
            "task": model.task,
            "answer": answer,
            "inside": None if self.inside is None else _number(self.inside),
            "places": [{"where": name, "share": _number(share)} for name, share in self.places],
            "text": self.text,
            "stopped": self.sampled.stop,
            "masks": self.sampled.runs,
            "agreement": _number(self.sampled.agreement),
            "visible": self.sampled.share,
            "seed": seed,
            "evidence": {key: _numbers(value) for key, value in self.cut.grid(self.sampled.evidence).items()},
        }


class Explainer:
    """Explains answers of one model; ``progress`` is called with the number of runs."""

    def __init__(self, model: LoadedModel, plan: ModelPlan, order: Order, progress: Progress) -> None:
        self.model, self._plan, self._order, self._progress = model, plan, order, progress

    def file(self, path: str) -> Iterator[Explanation]:
        """Yield the explanation of a picture or a recording, or one for each line of a text; raises `InputError`."""
        taken = self._plan.input
        if isinstance(taken, TextPlan):
            for line in read_lines(path):
                yield self._line(f"{path}:{line.number}", line, taken)
        elif isinstance(taken, SignalPlan):
            yield self._recording(path, taken)
        else:
            from edge_infer.frames.picture import read_picture

            yield self.picture(path, read_picture(path))

    def picture(self, name: str, pixels: Pixels) -> Explanation:
        """Return the explanation of an answer about a picture (blue, green, red)."""
        frame = Frame(pixels, "bgr", time.time(), time.monotonic(), 1)
        small, region = shrunk(frame, self.model.look(frame)[1], self._plan)
        answer = self._chosen(name, self.model.look(small), small)
        return self._explained(name, answer, PictureCells(self.model, small, answer, frame, region))

    def _line(self, name: str, line: Line, taken: TextPlan) -> Explanation:
        answer = self._chosen(name, self.model.look(line), line)
        return self._explained(name, answer, WordCells(self.model, line, answer, taken.length))

    def _recording(self, path: str, taken: SignalPlan) -> Explanation:
        """Explain the window of a recording in which the answer about the whole recording is strongest."""
        model = self.model
        assert isinstance(model.preprocess, SignalPreprocess)
        average, look, window = Average(), None, None
        for window in windows(model, read_recording(path, taken), path):
            look = model.look(window)
            average.add(look[0])
        if look is None or window is None:
            raise InputError(f"{path}: it is too short; the model takes {model.preprocess.described_need} at once")
        answer = self._chosen(path, (average.mean(), look[1]), window)
        strongest, number = self._strongest(path, taken, answer)
        start = (number - len(strongest) + 1) * model.preprocess.stride
        return self._explained(path, answer, signal_cells(model, taken, strongest, answer, start))

    def _strongest(self, path: str, taken: SignalPlan, answer: ExplainedAnswer) -> tuple[list[Samples], int]:
        """Return the window with the strongest answer, and its number from 0.

        For a model with a memory, the windows before it come first.
        """
        model = self.model
        before = MEMORY if model.interpreter.remembers else 0
        recent: list[Samples] = []
        best, most, place = recent, -np.inf, 0
        model.interpreter.forget()
        for number, window in enumerate(windows(model, read_recording(path, taken), path)):
            assert isinstance(window, Samples)
            recent = [*recent[-before:], window] if before else [window]
            found = answer.strength(model.look(window))
            if found > most:
                best, most, place = recent, found, number
        return best, place

    def _chosen(self, name: str, look: Look, frame: Captured) -> ExplainedAnswer:
        try:
            findings = self.model.postprocess(*look, frame.monotonic)
            return choose(findings, look, self._plan, self._order.threshold, self._order.wanted)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error

    def _explained(self, name: str, answer: ExplainedAnswer, cut: Cut) -> Explanation:
        sampled = Sampler(cut, self._order.seed, self._order.budget, self._progress).run()
        positive = np.maximum(sampled.evidence, 0.0)
        whole = float(positive.sum())
        if not whole:
            return Explanation(name, answer, cut, sampled, None, ())
        places = tuple(place for names in cut.names() for place in _largest(names, positive / whole))
        inside = cut.inside()
        share = None if inside is None else float(positive @ inside) / whole
        return Explanation(name, answer, cut, sampled, share, places)


def _largest(names: Sequence[str], shares: Cells) -> list[Place]:
    """Return the places with the largest shares; cells of one name are one place."""
    found: dict[str, float] = {}
    for name, share in zip(names, shares.tolist(), strict=True):
        found[name] = found.get(name, 0.0) + share
    found.pop("", None)  # inside the box
    best = sorted(found.items(), key=lambda place: -place[1])[:PLACES]
    return [(name, share) for name, share in best if share >= TOLD]


def _number(value: float) -> float:
    return round(value, 5) + 0.0


def _numbers(value: Any) -> Any:
    """Return an array as lists of rounded numbers, and anything else as it is."""
    return (np.round(value, 5) + 0.0).tolist() if isinstance(value, np.ndarray) else value
