"""Regex tokenizer of TFLite metadata (``RegexTokenizerOptions``): words are the text between delimiters.

Source: tflite-support, ``regex_tokenizer.cc`` and the text preprocessor of its task library. Therefore letters keep
their case; ``\\w`` means ASCII letters, digits and ``_``; the row begins with ``<START>`` if the vocabulary has it, and
is padded with ``<PAD>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from edge_infer.engine.preprocess.vocabulary import Vocabulary
from edge_infer.errors import ModelError

DEFAULT_PATTERN: Final = r"[^\w\']+"
"""Pattern written by TensorFlow's Model Maker."""
LONGEST_PATTERN: Final = 256
START: Final = ("<START>",)
PAD: Final = ("<PAD>", "<pad>", "[PAD]")
UNKNOWN: Final = ("<UNKNOWN>", "<UNK>", "<unk>", "[UNK]", "<OOV>")
_REPEATED_REPEAT: Final = re.compile(r"[*+}]\??\)\??[*+{]")


class RegexTokenizer:
    """Tokenizer of words in rows of a fixed length."""

    def __init__(self, vocabulary: Vocabulary, length: int, pattern: str, *, lowercase: bool = False) -> None:
        """Compile the pattern; raise `ModelError` if it cannot be used."""
        self._delimiter = compiled(pattern)
        self._vocabulary = vocabulary
        self._length = length
        self._lowercase = lowercase
        self._start = tuple(vocabulary[word] for word in START if word in vocabulary)
        self.pad = special(vocabulary, PAD)
        self.unknown = special(vocabulary, UNKNOWN)

    def __call__(self, text: str) -> list[int]:
        """Return at most ``length`` ids; further words are dropped."""
        if self._lowercase:
            text = text.lower()
        ids = (self._vocabulary.get(word, self.unknown) for word in self._words(text))
        return list(islice(chain(self._start, ids), self._length))

    def _words(self, text: str) -> Iterator[str]:
        begin = 0
        for delimiter in self._delimiter.finditer(text):
            if delimiter.start() > begin:
                yield text[begin : delimiter.start()]
            begin = delimiter.end()
        if begin < len(text):
            yield text[begin:]


def special(vocabulary: Vocabulary, names: tuple[str, ...]) -> int:
    """Return the id of the first of these words in the vocabulary; 0, as in tflite-support, if it has none."""
    return next((vocabulary[name] for name in names if name in vocabulary), 0)


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the delimiter; raise `ModelError` for a pattern of another dialect or of unbounded run time."""
    if len(pattern) > LONGEST_PATTERN:
        raise ModelError(f"its delimiter pattern has {len(pattern)} characters; at most {LONGEST_PATTERN} are read")
    if _REPEATED_REPEAT.search(pattern):
        raise ModelError(f"its delimiter pattern {pattern!r} repeats what is repeated; write it as [characters]+")
    try:
        found = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ModelError(f"its delimiter pattern {pattern!r} cannot be used: {error}") from error
    if found.match("") is not None:
        raise ModelError(f"its delimiter pattern {pattern!r} matches the empty text; right is, say, {DEFAULT_PATTERN}")
    return found
