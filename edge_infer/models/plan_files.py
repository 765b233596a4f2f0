"""The files that the plan of a model names: the model itself, its vocabulary, and the files of its decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from edge_infer.codec import JsonValue, replace
from edge_infer.config.plan import ModelInput, ModelPlan, PipelinePlan, TextPlan

FILE_OPTION: Final = "_file"
"""What the names of decoder parameters end in that name files."""


def files_of(model: ModelPlan) -> tuple[str, ...]:
    """The path of each file that a process has to open to run the model, once."""
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    moved(model, note)
    return tuple(dict.fromkeys(found))


def files_of_pipelines(pipelines: Iterable[PipelinePlan]) -> tuple[str, ...]:
    """The path of each file that their models and shadows need, once."""
    models = [model for each in pipelines for model in (each.model, each.shadow and each.shadow.model) if model]
    return tuple(dict.fromkeys(path for model in models for path in files_of(model)))


def moved(model: ModelPlan, place: Callable[[str], str]) -> ModelPlan:
    """The same model with ``place(path)`` instead of the path of each of its files."""
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
