"""The tokenizer that TFLite metadata names: a process unit of the input, or (BERT) of the whole graph.

Schema: ``metadata_schema.fbs`` of tflite-support, ``ProcessUnitOptions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_infer.codec import replace
from edge_infer.models.flatbuffer import Table

_BERT, _SENTENCEPIECE, _REGEX = 4, 5, 6
_INPUTS, _INPUT_UNITS, _UNITS_OF_TENSOR = 2, 5, 4


@dataclass(frozen=True, slots=True)
class SaidTokenizer:
    """A tokenizer from the metadata; ``vocabulary`` is a name in the archive, ``pattern`` the delimiter of a regex one.

    ``inputs`` are the names of the model's inputs in their order.
    """

    kind: Literal["regex", "wordpiece", "sentencepiece"]
    vocabulary: str
    pattern: str | None = None
    inputs: tuple[str, ...] = ()


def said_tokenizer(graph: Table) -> SaidTokenizer | None:
    """Return the tokenizer of a graph's metadata; None if it names none."""
    inputs = graph.tables(_INPUTS)
    units = [unit for tensor in inputs for unit in tensor.tables(_UNITS_OF_TENSOR)]
    found = [_tokenizer(unit) for unit in (*units, *graph.tables(_INPUT_UNITS))]
    first = next((each for each in found if each is not None), None)
    return None if first is None else replace(first, inputs=tuple(tensor.text(0) for tensor in inputs))


def _tokenizer(unit: Table) -> SaidTokenizer | None:
    options = unit.table(1)
    if options is None:
        return None
    kind = unit.number(0, "B")
    if kind == _BERT:
        return SaidTokenizer("wordpiece", _file(options, 0))
    if kind == _REGEX:
        return SaidTokenizer("regex", _file(options, 1), options.text(0))
    return SaidTokenizer("sentencepiece", _file(options, 0)) if kind == _SENTENCEPIECE else None


def _file(options: Table, field: Literal[0, 1]) -> str:
    return next((file.text(0) for file in options.tables(field)), "")
