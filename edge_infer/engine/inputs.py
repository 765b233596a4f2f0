"""Files as inputs of one-shot commands: what lies in one, as the model takes it, and what the model finds there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.config.plan import ModelInput, SignalPlan, TextPlan
from edge_infer.engine.frame import Captured, Frame, Line
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.errors import InputError

LONGEST_LINE: Final = 1 << 20
"""Bytes; a file with a longer line is no text."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the model finds in one input; ``name`` is the file, for a line of text ``FILE:LINE``."""

    name: str
    findings: Findings
    frame: Captured


def find_in_file(model: LoadedModel, taken: ModelInput, path: str, name: str = "") -> Iterator[Found]:
    """What is found in a picture, in a recording, or in every line of a text that is not blank.

    ``name`` is what the file is called where its path does not say it. Raises `InputError`, beginning with the path,
    for a file that is not what the model takes.
    """
    if isinstance(taken, TextPlan):
        for line in read_lines(path):
            yield Found(f"{path}:{line.number}", model.find(line), line)
    elif isinstance(taken, SignalPlan):
        from edge_infer.engine.average import find_in_recording
        from edge_infer.engine.recording import read_recording

        findings, window = find_in_recording(model, read_recording(path, taken, name), path)
        yield Found(path, findings, window)
    else:
        from edge_infer.engine.picture import read_picture

        frame = Frame(read_picture(path), "bgr", time.time(), time.monotonic(), 1)
        yield Found(path, model.find(frame), frame)


def read_lines(path: str) -> Iterator[Line]:
    """The lines of a text file with their numbers, blank ones left out; what is not UTF-8 is replaced."""
    some = False
    try:
        with Path(path).open("rb") as file:
            if b"\0" in file.peek():
                raise InputError(f"{path}: this is no text file; the model takes one with an input a line")
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
        raise InputError(f"{path}: it holds no text; write one input a line")
