"""Vocabularies of text models: the id of every word, from a separate file or from inside a model file.

There are two formats: ``word id`` in each line, as in TensorFlow's text classifiers, or one word per line, as in BERT.
In the second one the number of the line, counted from 0, is the id.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from edge_infer.errors import ModelError
from edge_infer.plan.records import TextPlan

LARGEST: Final = 16 << 20
"""Maximum size of a vocabulary in bytes. BERT's vocabulary for a hundred languages has about one MiB."""
MOST: Final = 1 << 20
LAST_ID: Final = (1 << 31) - 1
_NUMBERED: Final = re.compile(r"(.*) ([0-9]{1,10})")

Vocabulary: TypeAlias = Mapping[str, int]


def parse_vocabulary(data: bytes, where: str) -> Vocabulary:
    """Return the id of every word; for an invalid vocabulary raise `ModelError` with ``where`` before its text.

    A repeated word gets its last id. Words are not stripped, because some consist of unusual space characters.
    """
    if len(data) > LARGEST:
        raise ModelError(f"{where} is larger than a vocabulary can be ({LARGEST} bytes)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ModelError(f"{where}:{line}: not UTF-8 text; is this the vocabulary?") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or "\0" in text:
        raise ModelError(f"{where} contains no words: write one a line")
    if len(lines) > MOST:
        raise ModelError(f"{where}: {len(lines)} words exceed the limit of {MOST}; is this the vocabulary?")
    return _numbered(lines, where) or {word: number for number, word in enumerate(lines)}


def _numbered(lines: list[str], where: str) -> Vocabulary | None:
    """Parse lines ``word id``; return None if the first line has another format."""
    if _NUMBERED.fullmatch(lines[0]) is None:
        return None
    found = {}
    for number, line in enumerate(lines, start=1):
        match = _NUMBERED.fullmatch(line)
        if match is None or int(match[2]) > LAST_ID:
            raise ModelError(f"{where}:{number}: expected a word and its id, as in the lines above, not {line[:40]!r}")
        found[match[1]] = int(match[2])
    return found


def read_vocabulary(plan: TextPlan) -> Vocabulary:
    """Read the vocabulary of a plan; raise `ModelError` unless its bytes match the resolved hash."""
    where = f"{plan.vocabulary_file} inside {plan.vocabulary}" if plan.vocabulary_file else plan.vocabulary
    data = packed(plan.vocabulary, plan.vocabulary_file) if plan.vocabulary_file else _whole(plan.vocabulary)
    digest = hashlib.sha256(data).hexdigest()
    if digest != plan.vocabulary_sha256:
        raise ModelError(
            f"{where}: its SHA-256 is {digest[:16]}…, not {plan.vocabulary_sha256[:16]}…: the file has changed"
        )
    return parse_vocabulary(data, where)


def _whole(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise ModelError(f"the vocabulary {path} cannot be read: {error.strerror or error}") from error


def packed(path: str, name: str) -> bytes:
    """Read a file of the archive at the end of a model file; raise `ModelError` if that fails."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            return file.read(LARGEST + 1)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(f"the vocabulary {name} inside {path} cannot be read: {error}") from error
