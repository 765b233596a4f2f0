"""Shapes of inputs without a fixed size in the file; the manifest defines it as ``size`` or ``length``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from edge_infer.engine.preprocess.shape import CHANNELS
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import InputSection, Manifest
from edge_infer.models.tflite.graph import Graph, GraphTensor
from edge_infer.models.tflite.metadata import Metadata
from edge_infer.plan.records import Gives

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
OPEN: Final = -1


def choose_shapes(manifest: Manifest, graph: Graph, kind: Gives) -> Shapes:
    """Return name and shape of every input with an open shape; an open batch size becomes 1.

    Raises `ModelError` if the manifest gives no size, or a size that contradicts a fixed one.
    """
    carried = {name for _, name in manifest.state}
    return tuple(_chosen(manifest, graph, kind, carried))


def _chosen(manifest: Manifest, graph: Graph, kind: Gives, carried: set[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for tensor in graph.inputs:
        if tensor.name in carried:
            continue
        further = manifest.inputs.get(tensor.name)
        axes = _open_axes(tensor)
        if not axes:
            _check_fixed(manifest.input if further is None else further, tensor)
        elif further is not None and further.value is not None:
            raise ModelError(f"its input {_shown(tensor)} leaves its size open, so no `value` can fit")
        else:
            said = further if further is not None and further.model_fields_set & {"size", "length"} else manifest.input
            yield tensor.name, _picture(said, tensor, axes) if kind == "image" else _row(said, tensor, axes)


def _open_axes(tensor: GraphTensor) -> list[int]:
    """Return the axes of unknown size, except the batch axis."""
    first = 1 if len(tensor.signature) > 1 else 0
    return [axis for axis, size in enumerate(tensor.signature) if size == OPEN and axis >= first]


def _picture(said: InputSection, tensor: GraphTensor, axes: list[int]) -> tuple[int, ...]:
    signature = tensor.signature
    sides = (1, 2) if len(signature) == 4 and signature[3] in CHANNELS else (2, 3)
    if len(signature) != 4 or not set(axes) <= set(sides):
        raise ModelError(f"its input {_shown(tensor)} leaves more open than the height and width of a picture")
    if said.size is None:
        raise ModelError(
            f"its input {_shown(tensor)} leaves height and width open; set them in the manifest: `input: {{size: "
            "256x256}` (WIDTHxHEIGHT; MoveNet takes multiples of 32)"
        )
    shape = [1 if size == OPEN else size for size in signature]
    shape[sides[1]], shape[sides[0]] = said.size
    for axis in set(sides) - set(axes):
        if shape[axis] != signature[axis]:
            raise ModelError(
                f"the manifest sets size: {said.size[0]}x{said.size[1]}, but its input is {_shown(tensor)}"
            )
    return tuple(shape)


def _row(said: InputSection, tensor: GraphTensor, axes: list[int]) -> tuple[int, ...]:
    if len(axes) > 1:
        raise ModelError(f"its input {_shown(tensor)} leaves more open than its length")
    if said.length is None:
        raise ModelError(
            f"its input {_shown(tensor)} leaves its length open; set it in the manifest: `input: {{length: 128}}`"
        )
    shape = [1 if size == OPEN else size for size in tensor.signature]
    shape[axes[0]] = said.length
    return tuple(shape)


def _check_fixed(said: InputSection, tensor: GraphTensor) -> None:
    """Raise `ModelError` if the given size contradicts the fixed size of the input."""
    shape = tensor.shape
    if said.size is not None and len(shape) == 4 and said.size not in ((shape[2], shape[1]), (shape[3], shape[2])):
        raise ModelError(
            f"the manifest sets size: {said.size[0]}x{said.size[1]}, but its input {_shown(tensor)} has a fixed size"
        )


def _shown(tensor: GraphTensor) -> str:
    sizes = ", ".join("?" if size == OPEN else str(size) for size in tensor.signature)
    return f"{tensor.name} [{sizes}]"


# The kind of a model's input (pictures, a signal, or text), from the manifest's keys or the file's metadata.

TELLING: Final[Mapping[str, Gives]] = {"tokenizer": "text", "features": "samples"}
"""Keys of ``input`` that determine the kind."""
KEYS: Final[Mapping[Gives, frozenset[str]]] = {
    "image": frozenset({"color", "resize", "mean", "std", "size"}),
    "text": frozenset({"tokenizer", "vocabulary", "length", "pattern", "lowercase"}),
    "samples": frozenset(
        {
            *(
                "features",
                "rate",
                "window",
                "hop",
                "stride",
                "length",
                "channels",
                "columns",
                "bins",
                "coefficients",
                "low",
                "high",
            ),
            *("mel", "power", "log", "floor", "scale", "mean", "std", "filter"),
        }
    ),
}
"""Keys that are valid for each kind."""
WORDS: Final[Mapping[Gives, str]] = {"image": "pictures", "samples": "sound and samples", "text": "text"}


def kind_of(said: InputSection, metadata: Metadata) -> Gives:
    """Return the kind of a model's input; raises `ModelError` for a manifest key that belongs to another kind."""
    found: Gives = next((kind for key, kind in TELLING.items() if getattr(said, key) is not None), "image")
    if found == "image" and metadata.tokenizer is not None:
        found = "text"
    if found == "image" and metadata.sound is not None:
        found = "samples"
    for key in sorted(said.model_fields_set):
        owners = [kind for kind, keys in KEYS.items() if key in keys]
        if found not in owners:
            telling = next((key for key, kind in TELLING.items() if kind == owners[0]), "")
            hint = f"; a manifest for {WORDS[owners[0]]} also has {telling}:" if telling else ""
            raise ModelError(
                f"input: {key}: is for models of {WORDS[owners[0]]}, but this is one of {WORDS[found]}{hint}"
            )
    return found
