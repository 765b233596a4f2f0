"""BERT's tokenizer: words and punctuation, then the longest pieces of the vocabulary, from left to right.

Source: Devlin et al., https://github.com/google-research/bert, ``tokenization.py`` (FullTokenizer).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from edge_infer.engine.preprocess.vocabulary import Vocabulary
from edge_infer.errors import ModelError

BEGIN, END, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"
INSIDE: Final = "##"
"""Prefix of pieces that do not begin a word."""
LONGEST_WORD: Final = 200
"""Maximum characters; a longer word is unknown."""
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Ranges of Chinese characters, each of which is a word."""


class WordPieces:
    """Tokenizer of word pieces, between ``[CLS]`` and ``[SEP]``."""

    def __init__(self, vocabulary: Vocabulary, length: int, *, lowercase: bool) -> None:
        """Check the vocabulary; raise `ModelError` if words that BERT needs are missing or the row is too short."""
        missing = [word for word in (BEGIN, END, UNKNOWN) if word not in vocabulary]
        if missing:
            raise ModelError(f"its vocabulary has no {', '.join(missing)}; is it one of word pieces?")
        if length < 2:
            raise ModelError(f"its input takes {length} ids; word pieces need two and more")
        self._vocabulary = vocabulary
        self._length = length
        self._lowercase = lowercase
        self._longest = max(map(len, vocabulary))
        self.pad = vocabulary.get(PAD, 0)
        self.unknown = vocabulary[UNKNOWN]

    def __call__(self, text: str) -> list[int]:
        """Return at most ``length`` ids; further pieces are dropped, ``[SEP]`` stays the last."""
        pieces = chain.from_iterable(self._pieces(word) for word in self._words(text))
        inner = islice(pieces, self._length - 2)
        return [self._vocabulary[BEGIN], *inner, self._vocabulary[END]]

    def _words(self, text: str) -> Iterator[str]:
        """Yield words, single punctuation marks and single ideographs."""
        for word in "".join(map(_clean, text)).split():
            plain = _without_accents(word.lower()) if self._lowercase else word
            yield from "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in plain).split()

    def _pieces(self, word: str) -> list[int]:
        """Return the ids of a word, longest piece first; the unknown id if a part matches no piece."""
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        found: list[int] = []
        begin = 0
        while begin < len(word):
            prefix = INSIDE if begin else ""
            for end in range(min(len(word), begin + self._longest), begin, -1):
                piece = self._vocabulary.get(prefix + word[begin:end])
                if piece is not None:
                    found.append(piece)
                    begin = end
                    break
            else:
                return [self.unknown]
        return found


def is_lowercase(vocabulary: Vocabulary) -> bool:
    """Return whether a vocabulary has no capitals (except words such as ``[CLS]``), so that texts need lower case."""
    return not any(word != word.lower() and not word.startswith("[") for word in vocabulary)


def _clean(letter: str) -> str:
    """Normalize a character: spaces become one kind, ideographs get spaces around them, control characters vanish."""
    if letter in "\t\n\r " or unicodedata.category(letter) == "Zs":
        return " "
    code = ord(letter)
    if code in (0, 0xFFFD) or unicodedata.category(letter) in ("Cc", "Cf"):
        return ""
    return f" {letter} " if any(first <= code <= last for first, last in _IDEOGRAPHS) else letter


def _without_accents(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if unicodedata.category(letter) != "Mn")


def _is_punctuation(letter: str) -> bool:
    """Return whether it is Unicode punctuation or, as in BERT, ASCII that is neither letter, digit nor space."""
    code = ord(letter)
    if code < 128:
        return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return unicodedata.category(letter).startswith("P")
