"""What messages may say, remembered: those of an earlier configuration may wait in the outbox of a later process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Record, at_least, at_most, between, matching
from edge_infer.messages import Label, Name, Title
from edge_infer.publisher.keepsake import Keepsake

FILE: Final = "vocabulary.json"
MOST: Final = 256
"""Models and pipelines that are remembered, the newest."""
MOST_BYTES: Final = 32 << 20


class ModelWords(Record, frozen=True):
    """Labels, titles, and the decimals of each value of the model file whose digest begins so."""

    sha: Annotated[str, matching("[0-9a-f]{8}", 8)]
    labels: tuple[Label, ...]
    titles: tuple[Title, ...]
    decimals: Mapping[Label, Annotated[int, between(0, 100)]]


class PipelineWords(Record, frozen=True):
    """The bytes of its results, its zones and lines, the labels of its events, and those of its parents."""

    name: Name
    limit: Annotated[int, at_least(1)]
    places: tuple[Name, ...]
    labels: tuple[Label, ...]
    above: tuple[Label, ...] = ()


class Words(Record, frozen=True):
    """The file."""

    models: Annotated[tuple[ModelWords, ...], at_most(MOST)] = ()
    pipelines: Annotated[tuple[PipelineWords, ...], at_most(MOST)] = ()


class Vocabulary:
    """A small file in the publisher's folder, written when the words change and never otherwise."""

    def __init__(self) -> None:
        self._known: Words | None = None
        self._file = Keepsake(Words, FILE, MOST_BYTES, "what waits of earlier models may be rejected")

    def load(self, folder: Path) -> Words:
        """What processes before this one have left, once; nothing after that."""
        if self._known is not None:
            return Words()
        self._known = self._file.read(folder) or Words()
        return self._known

    def save(self, folder: Path, words: Words) -> None:
        """Remembers the newest of these; where it cannot write, the next time."""
        new = Words(words.models[-MOST:], words.pipelines[-MOST:])
        if new != self._known and self._file.write(folder, new):
            self._known = new
