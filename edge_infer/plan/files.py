"""Files that a model's plan names: the model itself, its vocabulary, and the files of its decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from edge_infer.contract.codec import JsonValue, replace
from edge_infer.plan.records import ModelInput, ModelPlan, PipelinePlan, TextPlan

FILE_OPTION: Final = "_file"
"""Suffix of decoder parameters with file names as values."""


def files_of(model: ModelPlan) -> tuple[str, ...]:
    """Return the path of every file that a process must open to run the model, each once."""
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    moved(model, note)
    return tuple(dict.fromkeys(found))


def files_of_pipelines(pipelines: Iterable[PipelinePlan]) -> tuple[str, ...]:
    """Return the paths of all files that the models and shadows of the pipelines need, each once."""
    models = [model for each in pipelines for model in (each.model, each.shadow and each.shadow.model) if model]
    return tuple(dict.fromkeys(path for model in models for path in files_of(model)))


def moved(model: ModelPlan, place: Callable[[str], str]) -> ModelPlan:
    """Return a copy of the plan with ``place(path)`` in place of each file's path."""
    path, taken = place(model.path), _input_moved(model.input, place)
    options: Mapping[str, JsonValue] = {
        key: place(value) if key.endswith(FILE_OPTION) and isinstance(value, str) else value
        for key, value in model.decoder.options.items()
    }
    further = tuple(replace(each, plan=each.plan and _input_moved(each.plan, place)) for each in model.further)
    decoder = replace(model.decoder, options=options)
    return replace(model, path=path, input=taken, decoder=decoder, further=further)


def _input_moved(taken: ModelInput, place: Callable[[str], str]) -> ModelInput:
    return replace(taken, vocabulary=place(taken.vocabulary)) if isinstance(taken, TextPlan) else taken
