"""The highest committed version of each package on this device, and the order of versions.

``versions.json`` in the state directory; the supervisor writes it when a model is committed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import Record, ShortText, decode_json, field
from edge_infer.errors import StartError, WireError
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.durable_files import keep_record

FILE: Final = "versions.json"


class Versions(Record, frozen=True):
    """Highest versions by package name."""

    highest: Mapping[ShortText, ShortText] = field(default_factory=dict)


def highest_versions(state_dir: Path) -> Mapping[str, str]:
    """Return the highest committed version of each package; raises `StartError` if the file is unreadable."""
    path = state_dir / FILE
    try:
        return decode_json(Versions, path.read_bytes()).highest
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from error
    except WireError as error:
        raise StartError(
            f"{path} is damaged ({error}), so nobody can tell which versions have served; remove it to begin anew"
        ) from error


def commit_version(state_dir: Path, model: ModelPlan) -> None:
    """Record durably that a model was committed; one without name and version is ignored. Raises `StartError`."""
    name, at, _ = model.title.rpartition("@")
    if model.version is None or not at:
        return
    known = highest_versions(state_dir)
    if name in known and not older(known[name], model.version):
        return
    keep_record(state_dir / FILE, Versions({**known, name: model.version}))


def older(one: str, other: str) -> bool:
    """Return whether a version precedes another.

    As in Semantic Versioning: numbers compare as numbers, ``1.0.0-rc.1`` precedes ``1.0.0``, and a part after ``+`` is
    ignored. In addition ``1.0`` equals ``1.0.0``, ``v1`` equals ``1``, and letters start a preview (``1.0rc1``).
    """
    return _rank(one) < _rank(other)


def is_preview(version: str) -> bool:
    """Return whether it is a preview of a release: ``1.0.0-rc.1``, ``1.0rc1``."""
    return any(kind == _PREVIEW for kind, _, _ in _rank(version))


_PREVIEW, _END, _NUMBER, _WORD = -1, 0, 1, 2
"""In a preview after a hyphen, words come after numbers (Semantic Versioning, section 11)."""


def _rank(version: str) -> tuple[tuple[int, int, str], ...]:
    release, _, preview = version.partition("+")[0].lower().removeprefix("v").partition("-")
    parts: list[tuple[int, int, str]] = []
    for part in reversed(_parts(release)):
        if part[:2] != (_NUMBER, 0) or (parts and parts[0][0] == _NUMBER):  # 1.0.0 is 1, and 1.0.0rc1 is 1rc1
            parts.insert(0, part)
    words = [(_WORD if kind == _PREVIEW else kind, number, word) for kind, number, word in _parts(preview)]
    marked = [(_PREVIEW, 0, ""), *words] if preview else []
    return (*parts, *marked, (_END, 0, ""))


def _parts(text: str) -> list[tuple[int, int, str]]:
    return [
        (_NUMBER, int(part), "") if part.isdigit() else (_PREVIEW, 0, part)
        for part in re.findall("[0-9]+|[a-z]+", text)
    ]
