"""The remembered vocabulary of messages: the outbox may hold messages of earlier configurations and processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Record, at_least, at_most, between, matching
from edge_infer.messages import Label, Name, Title
from edge_infer.publisher.keepsake import Keepsake

FILE: Final = "vocabulary.json"
MOST: Final = 256
"""Maximum number of remembered models and pipelines, the newest."""
MOST_BYTES: Final = 32 << 20


class ModelWords(Record, frozen=True):
    """Labels, titles and the decimals of each value of the model file whose digest begins with ``sha``."""

    sha: Annotated[str, matching("[0-9a-f]{8}", 8)]
    labels: tuple[Label, ...]
    titles: tuple[Title, ...]
    decimals: Mapping[Label, Annotated[int, between(0, 100)]]


class PipelineWords(Record, frozen=True):
    """The size limit of its results, its zones and lines, the labels of its events, and those of its parents."""

    name: Name
    limit: Annotated[int, at_least(1)]
    places: tuple[Name, ...]
    labels: tuple[Label, ...]
    above: tuple[Label, ...] = ()


class Words(Record, frozen=True):
    """The content of the file."""

    models: Annotated[tuple[ModelWords, ...], at_most(MOST)] = ()
    pipelines: Annotated[tuple[PipelineWords, ...], at_most(MOST)] = ()


class Vocabulary:
    """A small file in the publisher's folder, written only when the vocabulary changes."""

    def __init__(self) -> None:
        self._known: Words | None = None
        self._file = Keepsake(Words, FILE, MOST_BYTES, "what waits of earlier models may be rejected")

    def load(self, folder: Path) -> Words:
        """Return the vocabulary of earlier processes on the first call, and nothing after that."""
        if self._known is not None:
            return Words()
        self._known = self._file.read(folder) or Words()
        return self._known

    def save(self, folder: Path, words: Words) -> None:
        """Save the newest words. A failed write is repeated the next time."""
        new = Words(words.models[-MOST:], words.pipelines[-MOST:])
        if new != self._known and self._file.write(folder, new):
            self._known = new
