"""Labelled boxes in a COCO file: one JSON object with ``images``, ``annotations`` and ``categories``.

The file of 100,000 pictures is large. The file is mapped and not copied, and its polygons are skipped. A box takes 50
bytes in memory.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import numpy as np

from edge_infer.contract.codec import RawJson, between, decode_json
from edge_infer.errors import InputError, WireError
from edge_infer.evaluate.class_names import repeated
from edge_infer.evaluate.examples import LabelledBoxes, LabelledExample, NoteCounter, PictureFolder, Truth
from edge_infer.platform.paths import open_regular

LARGEST: Final = 1 << 30
"""Maximum bytes of a file of labels; the labels of COCO's 118,000 training pictures take 450 MB."""
MAX_CLASSES: Final = 20_000

MAX_SIDE: Final = 1e6
"""Maximum width or height of a picture in pixels. No picture is larger, and the square is a finite number."""

Id: TypeAlias = int | str
Side: TypeAlias = Annotated[float, between(0, MAX_SIDE)]
Coordinate: TypeAlias = Annotated[float, between(-MAX_SIDE, MAX_SIDE)]


@dataclass(slots=True)
class _Picture:
    id: Id
    file_name: str
    width: Side | None = None
    height: Side | None = None


@dataclass(slots=True)
class _Category:
    id: Id
    name: str


@dataclass(slots=True)
class _Annotation:
    image_id: Id
    category_id: Id
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    area: Annotated[float, between(0, MAX_SIDE**2)] | None = None
    iscrowd: int = 0


@dataclass(slots=True)
class _File:
    images: list[_Picture]
    annotations: list[RawJson]
    categories: list[_Category]


class CocoFile:
    """The pictures of a COCO file, in the order of their ids, as in the COCO evaluation."""

    truth: Truth = "boxes"
    in_rows: bool = False

    def __init__(self, path: Path, folder: PictureFolder) -> None:
        """Read the file; raises `InputError`."""
        self.notes = NoteCounter()
        self._folder = folder
        read = _read(path)
        if len(read.categories) > MAX_CLASSES:
            raise InputError(f"{path}: {len(read.categories)} categories are more than {MAX_CLASSES}")
        self.names: Sequence[str] = tuple(dict.fromkeys(each.name for each in read.categories))
        for name in repeated([each.name for each in read.categories]):
            self.notes.add("categories that share a name, counted as one", name)
        places = {name: place for place, name in enumerate(self.names)}
        self._pictures = sorted(read.images, key=lambda each: (isinstance(each.id, str), each.id))
        numbers = {each.id: number for number, each in enumerate(self._pictures)}
        classes = {each.id: places[each.name] for each in read.categories}
        self._boxes = _Boxes(path, read.annotations, numbers, classes, self.notes)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)

    def __iter__(self) -> Iterator[LabelledExample]:
        """Yield the pictures."""
        for number, picture in enumerate(self._pictures):
            size = round(picture.width or 0), round(picture.height or 0)
            path = self._folder.find(picture.file_name)
            yield LabelledExample(number, picture.file_name, self._boxes.of(number, size if all(size) else None), path)


class _Boxes:
    """All boxes, sorted by picture."""

    def __init__(
        self, path: Path, raw: list[RawJson], numbers: Mapping[Id, int], classes: Mapping[Id, int], notes: NoteCounter
    ) -> None:
        self._path, self._numbers, self._classes_by_id, self._notes = path, numbers, classes, notes
        columns = tuple(array(code) for code in "IIdddddB")
        for place, each in enumerate(raw):
            row = self._row(f"annotations[{place}]", each)
            for into, value in zip(columns, row or (), strict=False):
                into.append(value)
        raw.clear()
        pictures = np.array(columns[0], np.int64)
        order = np.argsort(pictures, kind="stable")
        self._starts = np.searchsorted(pictures[order], np.arange(len(numbers) + 1))
        self._classes = np.array(columns[1], np.int64)[order]
        self._boxes = np.stack([np.array(column, np.float64)[order] for column in columns[2:6]], axis=1)
        self._areas, self._crowd = np.array(columns[6], np.float64)[order], np.array(columns[7])[order] > 0

    def _row(self, where: str, raw: RawJson) -> tuple[Any, ...] | None:
        """Return picture, class, corners, area and crowd of an annotation; None without a known picture or class."""
        try:
            found = decode_json(_Annotation, raw, where)
        except WireError as error:
            raise InputError(f"{self._path}: not a COCO label file: {error}") from error
        if found.bbox is None:
            raise InputError(f"{self._path}: {where} has no bbox; evaluate needs labelled boxes")
        picture, class_of_it = self._numbers.get(found.image_id), self._classes_by_id.get(found.category_id)
        if picture is None or class_of_it is None:
            what = "picture" if picture is None else "category"
            self._notes.add(f"annotations without a {what} of the file, skipped", where)
            return None
        left, top, width, height = found.bbox
        area = found.area if found.area is not None else width * height
        return picture, class_of_it, left, top, left + width, top + height, area, bool(found.iscrowd)

    def of(self, number: int, size: tuple[int, int] | None) -> LabelledBoxes:
        """Return the boxes of a picture."""
        rows = slice(int(self._starts[number]), int(self._starts[number + 1]))
        return LabelledBoxes(
            self._boxes[rows], self._classes[rows], self._crowd[rows], self._areas[rows], fractions=False, size=size
        )


def _read(path: Path) -> _File:
    try:
        stream = open_regular(path)
        if stream is None:
            raise InputError(f"{path}: not a regular file")
        with stream:
            size = stream.seek(0, 2)
            if not 0 < size <= LARGEST:
                raise InputError(f"{path}: the file is {'empty' if not size else f'larger than {LARGEST >> 30} GiB'}")
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last view
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    try:
        return decode_json(_File, memoryview(mapped), "labels")
    except WireError as error:
        raise InputError(f"{path}: not a COCO label file: {error}") from error
