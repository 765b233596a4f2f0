"""Location of labelled data, which this process reads only after it has entered its sandbox.

NumPy is not imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.errors import ConfigError
from edge_infer.plan.records import ModelPlan
from edge_infer.sandbox.fence import Fence

TASKS: Final = ("detection", "classification", "anomaly", "regression")
NAME_LISTS: Final = ("classes.txt", "obj.names")
NAME_FILES: Final = ("data.yaml", "dataset.yaml", *NAME_LISTS)
"""Files with the class names for YOLO's text files."""


@dataclass(frozen=True, slots=True)
class DataPlace:
    """The labels, and the folder of the files that they name."""

    labels: Path
    folder: Path

    @classmethod
    def of(cls, labels: Path, folder: Path | None) -> DataPlace:
        """Return the place for the arguments of a command; raises `ConfigError`."""
        try:
            return cls._found(labels.absolute(), folder)
        except PermissionError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error

    @classmethod
    def _found(cls, labels: Path, folder: Path | None) -> DataPlace:
        if (labels / "labels").is_dir() and (labels / "images").is_dir():
            labels = labels / "labels"
        if not labels.exists():
            raise ConfigError(f"there is no {labels}; name a COCO file, a CSV file, or a folder with labelled files")
        if folder is not None:
            if not folder.is_dir():
                raise ConfigError(f"--images {folder}: no such folder")
            return cls(labels, folder.absolute())
        return cls(labels, _usual_folder(labels))

    def fence(self) -> Fence:
        """Return the read access that the process needs."""
        names = tuple(str(path) for path in name_files(self.labels)) if self.labels.is_dir() else ()
        return Fence(reads=(str(self.labels), str(self.folder)), files=names)


def name_files(labels: Path) -> list[Path]:
    """Return the paths at which class names may be: in the folder of the labels, or in one of the two folders above."""
    return [folder / name for folder in (labels, labels.parent, labels.parent.parent) for name in NAME_FILES]


def check_task(plan: ModelPlan) -> None:
    """Raise `ConfigError` for a model with a task that cannot be evaluated."""
    if plan.task not in TASKS:
        raise ConfigError(f"{plan.title}: evaluate supports {', '.join(TASKS)}, and this model is for {plan.task}")


def _usual_folder(labels: Path) -> Path:
    """Return the folder where the files of these labels usually are; raises `ConfigError` for a home directory."""
    if labels.is_dir():
        parts = list(labels.parts)
        if "labels" in parts:  # YOLO: images/train beside labels/train
            place = len(parts) - 1 - parts[::-1].index("labels")
            beside = Path(*parts[:place], "images", *parts[place + 1 :])
            if beside.is_dir():
                return beside
        return labels
    folder = labels.parent.parent if labels.parent.name in ("annotations", "labels") else labels.parent
    if folder in (Path.home(), Path("/")):
        raise ConfigError(f"name the folder with the files of {labels.name}: --images FOLDER (not all of {folder})")
    return folder
