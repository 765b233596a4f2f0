"""What messages may say, remembered: those of an earlier configuration may wait in the outbox of a later process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Range, Size, Text
from edge_infer.messages import Label, Name, Title
from edge_infer.publisher.keepsake import Keepsake

FILE: Final = "vocabulary.json"
MOST: Final = 256
"""Models and pipelines that are remembered, the newest."""
MOST_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class ModelWords:
    """Labels, titles, and the decimals of each value of the model file whose digest begins so."""

    sha: Annotated[str, Text("[0-9a-f]{8}", 8)]
    labels: tuple[Label, ...]
    titles: tuple[Title, ...]
    decimals: Mapping[Label, Annotated[int, Range(0, 100)]]


@dataclass(frozen=True, slots=True)
class PipelineWords:
    """The bytes of its results, its zones and lines, the labels of its events, and those of its parents."""

    name: Name
    limit: Annotated[int, Range(1)]
    places: tuple[Name, ...]
    labels: tuple[Label, ...]
    above: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """The file."""

    models: Annotated[tuple[ModelWords, ...], Size(MOST)] = ()
    pipelines: Annotated[tuple[PipelineWords, ...], Size(MOST)] = ()


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
