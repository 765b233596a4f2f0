"""For each package, the highest version that passed its probation on this device (was *committed*).

The file is ``versions.json`` in the state directory. The supervisor writes it when a model is committed. `rank` defines
the order of versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import ShortText, StoredRecord, decode_json, field
from edge_infer.errors import StartError, WireError
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.durable_files import keep_record

FILE: Final = "versions.json"


class Versions(StoredRecord, frozen=True):
    """Highest versions by package name. Further keys of a newer program are ignored; they remove no version."""

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
            f"{path} is damaged ({error}), so the versions that have served are unknown; remove the file to start a "
            "new record"
        ) from error


def commit_version(state_dir: Path, model: ModelPlan) -> None:
    """Record durably that a model was committed. A model without name and version is ignored. Raises `StartError`."""
    name, at, _ = model.title.rpartition("@")
    if model.version is None or not at:
        return
    known = highest_versions(state_dir)
    if name in known and not older(known[name], model.version):
        return
    keep_record(state_dir / FILE, Versions({**known, name: model.version}))


def older(one: str, other: str) -> bool:
    """Return whether a version precedes another, as in Semantic Versioning, section 11.

    Versions of other forms are also ordered: ``1.0`` equals ``1.0.0``, ``v1`` equals ``1``, and letters directly behind
    the numbers start a preview (``1.0rc1`` equals ``1.0.0-rc.1``).
    """
    return rank(one) < rank(other)


def is_preview(version: str) -> bool:
    """Return whether a version is a preview of a release: ``1.0.0-rc.1``, ``1.0rc1``."""
    return not rank(version)[1]


_RELEASE: Final = re.compile(r"(?:[vV](?=[0-9]))?((?:[0-9]+(?:[._][0-9]+)*)?)(.*)", re.DOTALL)


def rank(version: str) -> tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]:
    """Return the sort key of a version: its numbers, whether it is a release, and the identifiers of a preview."""
    found = _RELEASE.fullmatch(version.partition("+")[0])
    numbers, rest = found.groups() if found else ("", version)
    release = [int(number) for number in re.findall("[0-9]+", numbers)]
    while release and release[-1] == 0:
        release.pop()
    identifiers = rest[1:].split(".") if rest.startswith("-") else re.findall("[0-9]+|[a-z]+", rest.lower())
    preview = tuple(_identifier(each) for each in identifiers if each)
    return tuple(release), not preview, preview


def _identifier(text: str) -> tuple[bool, int, str]:
    """Return the rank of an identifier: numbers are ordered by value, and before all words."""
    number = re.fullmatch("[0-9]+", text) is not None
    return not number, int(text) if number else 0, "" if number else text
