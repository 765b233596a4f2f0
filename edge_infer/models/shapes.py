"""Shapes of inputs whose size the file leaves open; the manifest gives it as ``size`` or ``length``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edge_infer.config.plan import Gives
from edge_infer.engine.preprocess.shape import CHANNELS
from edge_infer.errors import ModelError
from edge_infer.models.graph import Graph, GraphTensor
from edge_infer.models.manifest import InputSection, Manifest

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
OPEN: Final = -1


def choose_shapes(manifest: Manifest, graph: Graph, kind: Gives) -> Shapes:
    """Return name and shape of every open input; an open batch becomes 1.

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
            raise ModelError(f"its input {_shown(tensor)} leaves its size open, so no `value` is known to fit")
        else:
            said = further if further is not None and further.model_fields_set & {"size", "length"} else manifest.input
            yield tensor.name, _picture(said, tensor, axes) if kind == "image" else _row(said, tensor, axes)


def _open_axes(tensor: GraphTensor) -> list[int]:
    """Return the axes of unknown size, except that of the batch."""
    first = 1 if len(tensor.signature) > 1 else 0
    return [axis for axis, size in enumerate(tensor.signature) if size == OPEN and axis >= first]


def _picture(said: InputSection, tensor: GraphTensor, axes: list[int]) -> tuple[int, ...]:
    signature = tensor.signature
    sides = (1, 2) if len(signature) == 4 and signature[3] in CHANNELS else (2, 3)
    if len(signature) != 4 or not set(axes) <= set(sides):
        raise ModelError(f"its input {_shown(tensor)} leaves more open than the height and width of a picture")
    if said.size is None:
        raise ModelError(
            f"its input {_shown(tensor)} leaves height and width open; say them, in the manifest: `input: {{size: "
            "256x256}` (WIDTHxHEIGHT; MoveNet takes multiples of 32)"
        )
    shape = [1 if size == OPEN else size for size in signature]
    shape[sides[1]], shape[sides[0]] = said.size
    for axis in set(sides) - set(axes):
        if shape[axis] != signature[axis]:
            raise ModelError(
                f"the manifest says size: {said.size[0]}x{said.size[1]}, but its input is {_shown(tensor)}"
            )
    return tuple(shape)


def _row(said: InputSection, tensor: GraphTensor, axes: list[int]) -> tuple[int, ...]:
    if len(axes) > 1:
        raise ModelError(f"its input {_shown(tensor)} leaves more open than its length")
    if said.length is None:
        raise ModelError(
            f"its input {_shown(tensor)} leaves its length open; say it, in the manifest: `input: {{length: 128}}`"
        )
    shape = [1 if size == OPEN else size for size in tensor.signature]
    shape[axes[0]] = said.length
    return tuple(shape)


def _check_fixed(said: InputSection, tensor: GraphTensor) -> None:
    """Raise `ModelError` if the given size contradicts the fixed size of the input."""
    shape = tensor.shape
    if said.size is not None and len(shape) == 4 and said.size not in ((shape[2], shape[1]), (shape[3], shape[2])):
        raise ModelError(
            f"the manifest says size: {said.size[0]}x{said.size[1]}, but its input {_shown(tensor)} has a fixed one"
        )


def _shown(tensor: GraphTensor) -> str:
    sizes = ", ".join("?" if size == OPEN else str(size) for size in tensor.signature)
    return f"{tensor.name} [{sizes}]"
