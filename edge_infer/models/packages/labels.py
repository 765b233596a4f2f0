"""Label files: the name of each class, by class id."""

from __future__ import annotations

import re
from typing import Final

from edge_infer.errors import ModelError

LARGEST: Final = 1 << 20
LONGEST: Final = 128
MOST: Final = 20_000
_NUMBERED: Final = re.compile(r"(\d{1,6})(?:\s*[:,]\s*|\s+)(\S.*)")


def parse_labels(data: bytes, where: str) -> tuple[str, ...]:
    """Return the labels of a text file with one label per line, by class id; raises `ModelError`, which names the line.

    If every line starts with a number, as in ``0  person``, the number is the class id, and a missing id becomes its
    own label. ``where`` names the file in errors.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", _text(data, where))]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelError(f"{where} contains no labels: write one a line", key="labels")
    for number, line in enumerate(lines, start=1):
        _check(line, f"{where}:{number}")
    numbered = [_NUMBERED.fullmatch(line) for line in lines if line]
    if all(numbered):
        return _by_id([(int(match[1]), match[2]) for match in numbered if match], where)
    if "" in lines:
        raise ModelError(
            f"{where}:{lines.index('') + 1}: a blank line would shift every class after it; write ??? for a class "
            "without a name",
            key="labels",
        )
    return _bounded(tuple(lines), where)


def check_labels(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the labels of a list unchanged; raises `ModelError` that names the first invalid one."""
    for index, label in enumerate(labels):
        if not label.strip():
            raise ModelError(f"{where}: label {index} is empty; write ??? for a class without a name", key="labels")
        _check(label, f"{where}: label {index}")
    return _bounded(labels, where)


def _text(data: bytes, where: str) -> str:
    if len(data) > LARGEST:
        raise ModelError(f"{where} is larger than a label file can be ({LARGEST} bytes)", key="labels")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ModelError(f"{where}:{line}: not UTF-8 text; is this the label file?", key="labels") from error


def _check(line: str, where: str) -> None:
    if len(line) > LONGEST:
        raise ModelError(
            f"{where}: a label of {len(line)} characters is too long; the limit is {LONGEST}", key="labels"
        )
    if not line.isprintable():
        raise ModelError(
            f"{where}: {line[:20]!r} contains characters that are not allowed in a label; is this the label file?",
            key="labels",
        )


def _by_id(pairs: list[tuple[int, str]], where: str) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for number, label in pairs:
        if number in found:
            raise ModelError(f"{where}: class {number} has two labels, {found[number]!r} and {label!r}", key="labels")
        found[number] = label
    if max(found) >= MOST:
        raise ModelError(
            f"{where}: class {max(found)} is above the largest possible one, {MOST - 1}; is this the label file?",
            key="labels",
        )
    return tuple(found.get(number, str(number)) for number in range(max(found) + 1))


def _bounded(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(labels) > MOST:
        raise ModelError(f"{where}: {len(labels)} labels are more than {MOST}; is this the label file?", key="labels")
    return labels
