"""Labelled examples that a model gets right with a margin: golden inputs for its package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import dumps
from edge_infer.errors import InputError
from edge_infer.frames.geometry import Box
from edge_infer.platform.paths import content, write_private

LARGEST: Final = 64 << 20
"""Maximum size of a golden input in bytes."""
MARGIN: Final = 0.1
"""Minimum distance of a score from the threshold, because another runtime may differ by some hundredths."""
LEAST_IOU: Final = 0.6
"""Minimum IoU of a found box with the labelled box in a golden example. A manifest requires only 0.5."""
MOST_OBJECTS: Final = 10


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """A file and its expected findings: labels, and for a detector boxes in fractions of the picture."""

    path: str
    expect: tuple[tuple[str, Box | None], ...]


class GoldenChoice:
    """Keeps some examples for each set of labels, those with the largest margin."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._best: dict[tuple[str, ...], list[tuple[float, int, GoldenExample]]] = {}
        self._offers = 0

    def offer(self, margin: float, example: GoldenExample) -> None:
        """Take an example with this margin of its weakest score."""
        if not self._count or margin < MARGIN or not example.path:
            return
        self._offers += 1
        kind = tuple(sorted({label for label, _ in example.expect}))
        ranked = sorted([*self._best.get(kind, []), (-margin, self._offers, example)], key=lambda item: item[:2])
        self._best[kind] = ranked[: self._count]

    def chosen(self) -> list[GoldenExample]:
        """Return the examples: the best one of each set of labels, then the second ones, and so on.

        Examples without anything to find come last, because a damaged model may find nothing in any picture.
        """
        turns = [
            (not kind, place, kind, item[2]) for kind, items in self._best.items() for place, item in enumerate(items)
        ]
        return [example for *_, example in sorted(turns, key=lambda turn: turn[:3])[: self._count]]


def write_golden(folder: Path, examples: Sequence[GoldenExample]) -> Path:
    """Copy the examples into ``FOLDER/golden/`` and write the manifest entries for them; raises `InputError`.

    Return the file with the entries, ``FOLDER/golden.yaml``.
    """
    into, lines = folder / "golden", ["golden:"]
    try:
        into.mkdir(mode=0o700, exist_ok=True)
        used: set[str] = set()
        for example in examples:
            data, name = content(Path(example.path), LARGEST), _free_name(Path(example.path), used)
            write_private(into / name, data)
            expect = ", ".join(_entry(label, box) for label, box in example.expect)
            lines += [f"  - input: {_quoted(f'golden/{name}')}", f"    expect: [{expect}]"]
        target = folder / "golden.yaml"
        write_private(target, "\n".join([*lines, ""]).encode())
    except OSError as error:
        raise InputError(f"--golden {folder}: {error.strerror or error}") from error
    return target


def _free_name(path: Path, used: set[str]) -> str:
    """Return a plain name for the copy that no other copy has."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in path.stem) or "input"
    name, number = f"{stem}{path.suffix.lower()}", 1
    while name in used:
        number += 1
        name = f"{stem}-{number}{path.suffix.lower()}"
    used.add(name)
    return name


def _entry(label: str, box: Box | None) -> str:
    place = "" if box is None else f", box: [{', '.join(f'{side:.4f}' for side in box)}]"
    return f"{{label: {_quoted(label)}{place}}}"


def _quoted(text: str) -> str:
    """Return a text as YAML in double quotes, with the escapes of JSON."""
    return dumps(os.fsencode(text).decode("utf-8", "replace")).decode()
