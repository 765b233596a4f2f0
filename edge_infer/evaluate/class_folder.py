"""Labelled inputs in a folder a class: ``FOLDER/CLASS/FILE``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_infer.errors import InputError
from edge_infer.evaluate.examples import LabelledClass, LabelledExample, NoteCounter, Truth
from edge_infer.evaluate.picture_folder import ENDINGS, files_below
from edge_infer.plan.records import Gives


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
