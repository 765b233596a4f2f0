"""Preprocessing of text: from a line to a row of token ids, the input of text classifiers."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.tokenizers import DEFAULT_PATTERN, RegexTokenizer, WordPieces
from edge_infer.engine.preprocess.vocabulary import Vocabulary, read_vocabulary
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Line
from edge_infer.frames.geometry import NO_PLACE, Transform
from edge_infer.plan.records import TextPlan

LONGEST_TEXT: Final = 1 << 16
"""Maximum number of characters of a line that are read; no model needs more."""
ID_TYPES: Final = ("int32", "int64", "float32")


class Tokenizer(Protocol):
    """Converts text to at most as many ids as the input tensor takes; ``pad`` is the id that fills the rest."""

    pad: int

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a line."""


class TextPreprocess:
    """Preprocessing that fills the input tensor with the ids of a line of text."""

    def __init__(self, plan: TextPlan, tensor: Tensor) -> None:
        """Load the tokenizer; raise `ModelError` unless the tensor is a row of ids and the vocabulary is readable."""
        length = row_length(tensor)
        if length != plan.length:
            raise ModelError(
                f"its input {tensor.name} takes {length} ids, but the manifest sets `length: {plan.length}`"
            )
        self._tokenizer = make_tokenizer(plan, read_vocabulary(plan))
        self._mask = np.zeros(length, np.int32)
        named = {plan.mask: self._mask, plan.segments: np.zeros(length, np.int32)}
        self.beside = {name: values for name, values in named.items() if name is not None}
        """Arrays by name that are copied into further inputs after each call."""

    def frames(self, taken: Line) -> tuple[Line, ...]:
        """Return the line as the only input."""
        return (taken,)

    def example(self) -> Line:
        """Return a line without words."""
        return Line("", 0.0, 0.0, 1)

    def __call__(self, line: Line, into: NDArray[Any]) -> Transform:
        """Fill ``into``, a view of the whole input tensor; tokens that do not fit are dropped."""
        ids = self._tokenizer(line.text[:LONGEST_TEXT])
        row = into.reshape(-1)  # a view: tensors are contiguous
        row[: len(ids)] = ids
        row[len(ids) :] = self._tokenizer.pad
        self._mask[: len(ids)] = 1
        self._mask[len(ids) :] = 0
        return NO_PLACE


def make_tokenizer(plan: TextPlan, vocabulary: Vocabulary) -> Tokenizer:
    """Return the tokenizer of a plan; raise `ModelError` if the vocabulary or the pattern does not fit it."""
    if plan.tokenizer == "wordpiece":
        return WordPieces(vocabulary, plan.length, lowercase=plan.lowercase)
    return RegexTokenizer(vocabulary, plan.length, plan.pattern or DEFAULT_PATTERN, lowercase=plan.lowercase)


def row_length(tensor: Tensor) -> int:
    """Return the number of ids in an input ``[1, length]``; raise `ModelError` for any other shape."""
    size = tensor.shape[-1] if tensor.shape else 0
    if tensor.shape not in ((size,), (1, size)) or size < 1 or tensor.dtype not in ID_TYPES or tensor.quantized:
        raise ModelError(
            f"its input {tensor.name} is {list(tensor.shape)} {tensor.dtype}; text needs word ids, [1, length] "
            f"of {', '.join(ID_TYPES)}"
        )
    if size == 1:
        raise ModelError(
            f"the length of its input {tensor.name} is not fixed; export it with a fixed length, such as 128"
        )
    return size
