"""Opens labelled data with the reader for their form; contains the reader of the simplest form, a folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.contract.messages import Task
from edge_infer.errors import InputError
from edge_infer.evaluate.coco_file import CocoFile
from edge_infer.evaluate.data_place import DataPlace
from edge_infer.evaluate.examples import (
    ENDINGS,
    LabelledClass,
    LabelledData,
    LabelledExample,
    NoteCounter,
    PictureFolder,
    Truth,
    files_below,
)
from edge_infer.evaluate.table_file import TableFile
from edge_infer.evaluate.yolo_folder import YoloFolder
from edge_infer.plan.records import Gives, ModelPlan

_TRUTH: Final[Mapping[Task, Truth]] = {
    "detection": "boxes",
    "classification": "class",
    "anomaly": "class",
    "regression": "values",
}
_NEEDS: Final[Mapping[Task, str]] = {
    "detection": "labelled boxes: a COCO file, or a folder of YOLO text files",
    "classification": "a folder for each class, or a CSV file with a column label",
    "anomaly": "the folders normal and anomalous, or a CSV file with a column label",
    "regression": "a CSV file with a column for each value",
}


def open_data(place: DataPlace, plan: ModelPlan) -> LabelledData:
    """Return the labelled data for a model; raises `InputError`."""
    data = _open(place, plan)
    if data.truth != _TRUTH[plan.task]:
        raise InputError(f"{place.labels}: {plan.title} needs {_NEEDS[plan.task]}")
    if not len(data):
        raise InputError(f"{place.labels}: the labels name nothing to evaluate")
    return data


def _open(place: DataPlace, plan: ModelPlan) -> LabelledData:
    if not place.labels.is_dir():
        table = place.labels.suffix.lower() == ".csv"
        if table:
            return TableFile(place.labels, PictureFolder((place.folder,)), plan)
        return CocoFile(place.labels, PictureFolder(_picture_folders(place.labels, place.folder)))
    if plan.task == "detection":
        return YoloFolder(place.labels, place.folder, plan.labels)
    return ClassFolder(place.labels, plan.input.takes)


def _picture_folders(labels: Path, folder: Path) -> tuple[Path, ...]:
    """Return the folders that names of pictures may be relative to: ``instances_val2017.json`` names ``val2017/``."""
    part = labels.stem.partition("_")[2] or labels.stem
    return folder, folder / "images", folder / part, folder / "images" / part


# Labelled inputs in one folder per class: ``FOLDER/CLASS/FILE``.


class ClassFolder:
    """The files of all classes, class by class."""

    truth: Truth = "class"
    in_rows: bool = False

    def __init__(self, folder: Path, takes: Gives) -> None:
        """List the files that a model with this kind of input takes; raises `InputError`."""
        self.notes = NoteCounter()
        self._folder = folder
        try:
            classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror or error}") from error
        found = {path.name: list(files_below(path, ENDINGS[takes])) for path in classes}
        for name, paths in found.items():
            if not paths:
                self.notes.add("folders without any file that the model takes", name)
        self.names: Sequence[str] = tuple(name for name, paths in found.items() if paths)
        self._files = [(number, path) for number, name in enumerate(self.names) for path in found[name]]
        if not self._files:
            endings = ", ".join(sorted(ENDINGS[takes]))
            raise InputError(f"{folder}: no folder in it contains files of a class; expected CLASS/FILE with {endings}")

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._files)

    def __iter__(self) -> Iterator[LabelledExample]:
        """Yield the files."""
        for number, (place, path) in enumerate(self._files):
            yield LabelledExample(number, str(path.relative_to(self._folder)), LabelledClass(place), str(path))
