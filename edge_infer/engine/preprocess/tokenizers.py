"""Tokenizers of text models: BERT's word pieces, and the regex tokenizer of TFLite metadata."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from edge_infer.engine.preprocess.vocabulary import Vocabulary
from edge_infer.errors import ModelError

# BERT's tokenizer: splits text into words and punctuation, then each word into the longest pieces of the vocabulary,
# from left to right.
#
# Source: Devlin et al., https://github.com/google-research/bert, ``tokenization.py`` (FullTokenizer).

BEGIN, END, UNKNOWN, PAD = "[CLS]", "[SEP]", "[UNK]", "[PAD]"
INSIDE: Final = "##"
"""Prefix of pieces that do not start a word."""
LONGEST_WORD: Final = 200
"""Maximum number of characters in a word; a longer word is unknown."""
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Ranges of Chinese characters, each of which counts as a word."""


class WordPieces:
    """Tokenizer that splits words into pieces; the row of ids begins with ``[CLS]`` and ends with ``[SEP]``."""

    def __init__(self, vocabulary: Vocabulary, length: int, *, lowercase: bool) -> None:
        """Check the vocabulary; raise `ModelError` if BERT's special tokens are missing or the row is too short."""
        missing = [word for word in (BEGIN, END, UNKNOWN) if word not in vocabulary]
        if missing:
            raise ModelError(f"its vocabulary has no {', '.join(missing)}; is it a vocabulary of word pieces?")
        if length < 2:
            raise ModelError(f"its input takes {length} ids; word pieces need at least two")
        self._vocabulary = vocabulary
        self._length = length
        self._lowercase = lowercase
        self._longest = max(map(len, vocabulary))
        self.pad = vocabulary.get(PAD, 0)
        self.unknown = vocabulary[UNKNOWN]

    def __call__(self, text: str) -> list[int]:
        """Return at most ``length`` ids. Further pieces are dropped; the last id is always ``[SEP]``."""
        pieces = chain.from_iterable(self._pieces(word) for word in self._words(text))
        inner = islice(pieces, self._length - 2)
        return [self._vocabulary[BEGIN], *inner, self._vocabulary[END]]

    def _words(self, text: str) -> Iterator[str]:
        """Yield words, single punctuation marks and single ideographs."""
        for word in "".join(map(_clean, text)).split():
            plain = _without_accents(word.lower()) if self._lowercase else word
            yield from "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in plain).split()

    def _pieces(self, word: str) -> list[int]:
        """Return the ids of a word, longest pieces first.

        Return the unknown id if a part of the word matches no piece.
        """
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
    """Return whether a vocabulary has no capital letters, so that text must be lowercased.

    Tokens such as ``[CLS]`` do not count.
    """
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
    """Return whether a letter is Unicode punctuation or, as in BERT, ASCII other than letters, digits and space."""
    code = ord(letter)
    if code < 128:
        return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return unicodedata.category(letter).startswith("P")


# Regex tokenizer of TFLite metadata (``RegexTokenizerOptions``): words are the text between delimiters.
#
# Source: tflite-support, ``regex_tokenizer.cc`` and the text preprocessor of its task library. As in that code, letters
# keep their case; ``\w`` means ASCII letters, digits and ``_``; the row begins with ``<START>`` if the vocabulary has
# it, and is padded with ``<PAD>``.

DEFAULT_PATTERN: Final = r"[^\w\']+"
"""Pattern written by TensorFlow's Model Maker."""
LONGEST_PATTERN: Final = 256
START_WORDS: Final = ("<START>",)
PAD_WORDS: Final = ("<PAD>", "<pad>", "[PAD]")
UNKNOWN_WORDS: Final = ("<UNKNOWN>", "<UNK>", "<unk>", "[UNK]", "<OOV>")
_PART: Final = re.compile(r"(?P<letter>\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^][(){}|*+?^$\\])|[+|]", re.DOTALL)
"""A part of a delimiter: one letter or class of letters, a repetition, or the bar between alternatives."""
_FOLLOWS: Final = {("|", "letter"), ("letter", "letter"), ("letter", "+"), ("letter", "|"), ("+", "|")}
"""Pairs of parts that may follow each other."""


class RegexTokenizer:
    """Tokenizer of words in rows of a fixed length."""

    def __init__(self, vocabulary: Vocabulary, length: int, pattern: str, *, lowercase: bool = False) -> None:
        """Compile the pattern; raise `ModelError` if it cannot be used."""
        self._delimiter = compiled(pattern)
        self._vocabulary = vocabulary
        self._length = length
        self._lowercase = lowercase
        self._start = tuple(vocabulary[word] for word in START_WORDS if word in vocabulary)
        self.pad = special(vocabulary, PAD_WORDS)
        self.unknown = special(vocabulary, UNKNOWN_WORDS)

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
    """Return the id of the first of these names that the vocabulary contains; without any 0, as in tflite-support."""
    return next((vocabulary[name] for name in names if name in vocabulary), 0)


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled delimiter; raise `ModelError` for a pattern of another dialect or of unbounded run time."""
    if len(pattern) > LONGEST_PATTERN:
        raise ModelError(f"its delimiter pattern has {len(pattern)} characters; at most {LONGEST_PATTERN} are read")
    try:
        found = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ModelError(f"its delimiter pattern {pattern!r} cannot be used: {error}") from error
    if found.match("") is not None:
        raise ModelError(
            f"its delimiter pattern {pattern!r} matches the empty text; expected a pattern such as {DEFAULT_PATTERN}"
        )
    if not _is_quick(pattern):
        raise ModelError(
            f"its delimiter pattern {pattern!r} may take unbounded time; write it as [characters]+, or as several of "
            f"these with | between them"
        )
    return found


def _is_quick(pattern: str) -> bool:
    """Return whether a search takes time in proportion to the text: only the end of each alternative may repeat.

    Python's search tries all ways to match (https://docs.python.org/3/howto/regex.html) and holds the interpreter's
    lock during the search, so that nothing else in the engine would run.
    """
    place, before = 0, "|"
    while place < len(pattern):
        part = _PART.match(pattern, place)
        if part is None:
            return False
        kind = "letter" if part["letter"] else part[0]
        if (before, kind) not in _FOLLOWS:
            return False
        place, before = part.end(), kind
    return True
