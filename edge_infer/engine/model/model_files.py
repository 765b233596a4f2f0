"""Model files that the supervisor hands over as open files in memory; the engine reads no model file from the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Final

from edge_infer.errors import ModelError
from edge_infer.plan.files import files_of, moved
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.closing import Closing
from edge_infer.platform.memfd import place

PATIENCE: Final = 60.0
"""Maximum seconds to wait for a file: reading the largest model from a slow card takes that long."""


class Lease(Closing):
    """A model with files that stay open until `close`.

    ``model`` is the plan with paths under which this process can open the files again. Without ``files``, ``model`` has
    the original paths of the plan.
    """

    def __init__(self, model: ModelPlan, files: Mapping[str, int] | None = None) -> None:
        """Take the descriptors ``files``, by path, and close them later."""
        self._files = dict(files or {})
        self.model = moved(model, lambda path: place(self._files[path])) if self._files else model

    def named(self, text: str) -> str:
        """Return the text with the temporary paths replaced by the paths in the configuration."""
        places = {place(file): path for path, file in self._files.items()}
        for known in sorted(places, key=len, reverse=True):  # /proc/self/fd/1 is a prefix of /proc/self/fd/12
            text = text.replace(known, places[known])
        return text

    def close(self) -> None:
        """Close the files; may be called twice."""
        while self._files:
            os.close(self._files.popitem()[1])


class ModelFiles(Closing):
    """The newest file of every path, until `keep` drops it. Any thread may take a `lease`, which has its own copies.

    The supervisor may still be sending files: if the memory holds only one model, it sends the next one after the
    current one is closed. A lease waits for such a file.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        """A lease waits at most ``patience`` seconds for its files."""
        self._patience = patience
        self._changed = threading.Condition()
        self._files: dict[str, int] = {}
        self._missing: dict[str, str] = {}
        self._needed: frozenset[str] = frozenset()

    def add(self, path: str, file: int) -> None:
        """Use this file for plans that name the path from now on. The object owns the descriptor."""
        with self._changed:
            self._drop(path)
            self._files[path] = file
            self._changed.notify_all()

    def miss(self, path: str, why: str) -> None:
        """Record that the supervisor cannot provide the file of a path."""
        with self._changed:
            self._drop(path)
            self._missing[path] = why
            self._changed.notify_all()

    def expect(self, paths: Iterable[str]) -> None:
        """Add paths that plans need from now on. The supervisor will send the files that are missing."""
        with self._changed:
            self._needed |= frozenset(paths)

    def keep(self, paths: Iterable[str]) -> None:
        """Set the paths that plans need; drop the files of all other paths."""
        with self._changed:
            self._needed = frozenset(paths)
            for path in (self._files.keys() | self._missing.keys()) - self._needed:
                self._drop(path)
            self._changed.notify_all()

    def lease(self, model: ModelPlan) -> Lease:
        """Return a lease of a model's files; raises `ModelError` if one is missing."""
        taken: dict[str, int] = {}
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._coming(model), self._patience)
                for path in files_of(model):
                    taken[path] = self._copy(path, model)
        except BaseException:
            for file in taken.values():
                os.close(file)
            raise
        return Lease(model, taken)

    def close(self) -> None:
        """Drop all files; existing leases stay valid."""
        self.keep(())

    def _coming(self, model: ModelPlan) -> bool:
        here = self._files.keys() | self._missing.keys()
        return any(path in self._needed and path not in here for path in files_of(model))

    def _copy(self, path: str, model: ModelPlan) -> int:
        where = "" if path == model.path else f"{path}: "
        if path not in self._files:
            raise ModelError(where + self._missing.get(path, "the supervisor has not sent it"))
        try:
            return os.dup(self._files[path])
        except OSError as error:
            raise ModelError(f"{where}it cannot be opened: {error.strerror}") from error

    def _drop(self, path: str) -> None:
        self._missing.pop(path, None)
        if (file := self._files.pop(path, None)) is not None:
            os.close(file)
