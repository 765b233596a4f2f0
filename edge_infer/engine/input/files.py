"""Files as inputs of one-shot commands: reads each file in the form that the model takes, and runs the model on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.errors import InputError
from edge_infer.frames.frame import Captured, Frame, Line
from edge_infer.plan.records import ModelInput, SignalPlan, TextPlan

LONGEST_LINE: Final = 1 << 20
"""Maximum length of a line in bytes; a file with a longer line is not accepted as text."""


@dataclass(frozen=True, slots=True)
class FileFindings:
    """The findings in one input; ``name`` is the file, or ``FILE:LINE`` for a line of text."""

    name: str
    findings: Findings
    frame: Captured


def find_in_file(model: LoadedModel, taken: ModelInput, path: str, name: str = "") -> Iterator[FileFindings]:
    """Yield the findings in a picture, in a recording, or in every non-blank line of a text.

    ``name`` is the file's real name if its path does not show it. Raises `InputError`, whose text begins with the path,
    for a file that the model cannot take.
    """
    if isinstance(taken, TextPlan):
        for line in read_lines(path):
            yield FileFindings(f"{path}:{line.number}", model.find(line), line)
    elif isinstance(taken, SignalPlan):
        from edge_infer.engine.input.recording import find_in_recording, read_recording

        findings, window = find_in_recording(model, read_recording(path, taken, name), path)
        yield FileFindings(path, findings, window)
    else:
        from edge_infer.frames.picture import read_picture

        frame = Frame(read_picture(path), "bgr", time.time(), time.monotonic(), 1)
        yield FileFindings(path, model.find(frame), frame)


def read_lines(path: str) -> Iterator[Line]:
    """Yield the non-blank lines of a text file with their numbers; bytes that are not UTF-8 are replaced."""
    some = False
    try:
        with Path(path).open("rb") as file:
            if b"\0" in file.peek():
                raise InputError(f"{path}: not a text file; the model takes a text file with one input a line")
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
                if len(line) > LONGEST_LINE or b"\0" in line:
                    raise InputError(f"{path}:{number}: not a line of text; is this a text file?")
                text = line.decode("utf-8", "replace").strip("\ufeff\r\n")
                if text.strip():
                    some = True
                    yield Line(text, time.time(), time.monotonic(), number)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not some:
        raise InputError(f"{path}: it contains no text; write one input a line")
