"""Labelled examples, as the readers of label files give them to an evaluation, and the folder with their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np

from edge_infer.evaluate.matching import Flags, Floats, Ints, TrueBoxes
from edge_infer.platform.logs import printable

Truth = Literal["boxes", "class", "values"]
"""The kind of labels: boxes of a picture, one class of an input, or the values of a regression."""
SHOWN: Final = 3
"""Maximum number of names in a note."""


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """Boxes as the file defines them: ``[n, 4]`` corners in pixels, or in fractions of the picture.

    ``size`` is the width and height that the labels state for the picture. ``areas`` is None if they state no areas.
    """

    boxes: Floats
    classes: Ints
    crowd: Flags
    areas: Floats | None = None
    fractions: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LabelledClass:
    """The class of a whole input, as an index into the names of the data."""

    number: int


@dataclass(frozen=True, slots=True)
class LabelledValues:
    """The true values of a regression by name."""

    values: tuple[tuple[str, float], ...]


Label: TypeAlias = LabelledBoxes | TrueBoxes | LabelledClass | LabelledValues
"""Boxes become `TrueBoxes` once the size of their picture is known."""


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One labelled input: a file, or the ``text`` or the ``row`` of numbers of a table.

    ``number`` is its index in the data. ``name`` identifies it for a person. ``unread`` is the reason why the example
    cannot be read, if the labels already show this; empty otherwise.
    """

    number: int
    name: str
    label: Label
    path: str = ""
    text: str | None = None
    row: tuple[float, ...] = ()
    unread: str = ""


class LabelledData(Protocol):
    """Labelled inputs, read one after the other; every pass gives the same examples in the same order."""

    truth: Truth
    names: Sequence[str]
    """The classes of the labels."""
    in_rows: bool
    """Whether each example is a row of numbers in the file of the labels."""
    notes: NoteCounter

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[LabelledExample]: ...


@dataclass
class NoteCounter:
    """Notes about the data: for each kind of note its count and the first places."""

    _counts: dict[str, int] = field(default_factory=dict)
    _places: dict[str, list[str]] = field(default_factory=dict)
    _cut: set[str] = field(default_factory=set)

    def add(self, what: str, place: str = "", count: int = 1) -> None:
        """Count a note about the data.

        ``what`` describes its kind in the plural, such as ``rows without a readable label, skipped``.
        """
        self._counts[what] = self._counts.get(what, 0) + count
        places = self._places.setdefault(what, [])
        if place and printable(place) not in places:
            if len(places) < SHOWN:
                places.append(printable(place))
            else:
                self._cut.add(what)

    def sentences(self) -> list[str]:
        """Return one sentence for each kind of note."""
        return [self._sentence(what, count) for what, count in self._counts.items()]

    def _sentence(self, what: str, count: int) -> str:
        places = self._places[what]
        more = ", …" if what in self._cut else ""
        return f"{what}: {count}" + (f" ({', '.join(places)}{more})" if places else "")


def placed(label: LabelledBoxes, size: tuple[int, int], name: str, notes: NoteCounter) -> TrueBoxes:
    """Return the boxes in pixels of a picture of this width and height; note boxes that are not inside it.

    A box without any area in the picture is skipped. A box that reaches beyond the picture stays as it is, as in the
    COCO evaluation.
    """
    scale = np.ones(2)
    if label.fractions:
        scale = np.array(size, np.float64)
    elif label.size is not None and label.size != size:
        scale = np.array(size, np.float64) / label.size
        notes.add("pictures of another size than their labels state, boxes scaled", name)
    boxes = label.boxes * np.tile(scale, 2)
    inside = np.clip(boxes, 0.0, np.tile(np.array(size, np.float64), 2))
    kept = np.isfinite(boxes).all(axis=1) & (inside[:, 2:] > inside[:, :2]).all(axis=1)
    if lost := int((~kept).sum()):
        notes.add("labelled boxes that are empty or outside of their picture, skipped", name, lost)
    if many := int((np.abs(inside - boxes).max(axis=1, initial=0.0) > _BEYOND)[kept].sum()):
        notes.add("labelled boxes that reach beyond their picture", name, many)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = own if label.areas is None else label.areas * scale.prod()
    return TrueBoxes(boxes, label.classes, np.asarray(areas, np.float64), label.crowd).of(kept)


_BEYOND: Final = 1.0
"""Pixels by which a box may reach beyond its picture without a note: labels are rounded."""


# The folder with the files that labels name; no label leads out of it.

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
SIGNALS: Final = frozenset({".wav", ".csv", ".npy"})
TEXTS: Final = frozenset({".txt"})
ENDINGS: Final = {"image": PICTURES, "samples": SIGNALS, "text": TEXTS}
"""Endings of the files that a model takes, by kind of its input."""


class PictureFolder:
    """Finds files by the names in labels. The first file that is found decides which of the folders is used."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders

    def find(self, name: str) -> str:
        """Return the path of a file; empty if the name leads out of the folder.

        If no folder has the file, return its path in the first folder. Opening that path then reports the missing file.
        """
        if not name or name.startswith("/") or "\0" in name or ".." in name.split("/"):
            return ""
        for place, folder in enumerate(self._folders):
            # `Path.is_file` raises for a name that is too long, and in a closed folder.
            if os.path.isfile(folder / name):  # noqa: PTH113
                if place:
                    self._folders = (folder, *self._folders[:place], *self._folders[place + 1 :])
                return str(folder / name)
        return str(self._folders[0] / name)


def files_below(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    """Yield files with these endings in a folder and below it, in order; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings:  # noqa: PTH122 - many files
                yield Path(place, name)
