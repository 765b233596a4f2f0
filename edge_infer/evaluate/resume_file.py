"""The outcomes of an evaluation, appended to a file from which an interrupted evaluation continues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Final

from edge_infer.contract.codec import Record, ShortText, at_least, at_most, decode_json, dumps
from edge_infer.errors import InputError, WireError
from edge_infer.platform.paths import open_regular

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST_LINE: Final = 8 << 20
LONGEST_NAME: Final = 500
"""Maximum number of characters of an example's name. Of a longer name, the end is kept."""
Item = tuple[Annotated[int, at_least(0)], float, float, float, float, float]
"""Class id of the model, score, and xmin, ymin, xmax, ymax in pixels."""


class Looked(Record, frozen=True):
    """The findings of one model in one example: ``items`` (boxes), ``answer`` (one class), ``values``, or ``failed``.

    ``answer`` is class id, score, and the rank of the true class; for anomalies the score is the distance.
    ``seconds`` is the time from the input in memory to the findings.
    """

    seconds: float = 0.0
    items: Annotated[tuple[Item, ...], at_most(1000)] = ()
    answer: tuple[int, float, int] | None = None
    values: Annotated[tuple[float | None, ...], at_most(1000)] = ()
    failed: Annotated[str, at_most(500)] = ""


class ExampleOutcome(Record, frozen=True):
    """All models on one example; ``size`` is the width and height of a picture, ``unread`` the error of its reading."""

    number: Annotated[int, at_least(0)]
    name: Annotated[str, at_most(LONGEST_NAME)]
    size: tuple[int, int] | None = None
    looked: tuple[Looked, ...] = ()
    unread: Annotated[str, at_most(500)] = ""


class ResumeHead(Record, frozen=True):
    """The question that the outcomes answer: model files, labels, thresholds."""

    question: ShortText


class ResumeFile:
    """Reads the outcomes of an earlier run of the same question and appends new outcomes; a context manager.

    Without a path it stores nothing.
    """

    def __init__(self, path: Path | None, question: str) -> None:
        self._path, self._question = path, question
        self._file: int | None = None
        self._waiting = bytearray()

    def __enter__(self) -> Self:
        """Open the file; raises `InputError` if it belongs to another question."""
        if self._path is None:
            return self
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise InputError(f"--resume {self._path}: {error.strerror or error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._flush()
            os.close(self._file)
            self._file = None

    def earlier(self) -> Iterator[ExampleOutcome]:
        """Yield the outcomes of the file, and cut off a last line that is not complete; raises `InputError`.

        The caller must read all earlier outcomes before it adds the first new outcome.
        """
        if self._path is None or self._file is None:
            return
        stream = open_regular(self._path)
        if stream is None:
            raise InputError(f"--resume {self._path}: not a regular file")
        with stream:
            whole = 0
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
                if not line.endswith(b"\n"):
                    break
                if number == 1:
                    self._check(line)
                else:
                    yield self._outcome(line, number)
                whole += len(line)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        if not whole:
            self._append(ResumeHead(self._question))

    def add(self, outcome: ExampleOutcome) -> None:
        """Append an outcome to the file."""
        if self._file is not None:
            self._append(outcome)
            if len(self._waiting) > _BLOCK:
                self._flush()

    def _check(self, line: bytes) -> None:
        try:
            same = decode_json(ResumeHead, line).question == self._question
        except WireError as error:
            raise InputError(f"--resume {self._path}: not a file of evaluate: {error}") from error
        if not same:
            raise InputError(
                f"--resume {self._path}: it belongs to another model, other labels or other options; name a new file"
            )

    def _outcome(self, line: bytes, number: int) -> ExampleOutcome:
        try:
            return decode_json(ExampleOutcome, line)
        except WireError as error:
            raise InputError(f"--resume {self._path}:{number}: damaged: {error}; remove the file") from error

    def _append(self, record: Record) -> None:
        self._waiting += dumps(record) + b"\n"

    def _flush(self) -> None:
        assert self._file is not None
        try:
            while self._waiting:
                del self._waiting[: os.write(self._file, self._waiting)]
        except OSError as error:
            raise InputError(f"--resume {self._path}: cannot be written: {error.strerror or error}") from error


_BLOCK: Final = 16 << 10
