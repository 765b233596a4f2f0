"""Replaces a configured source by a recording, which is read as fast as possible.

The kind of source follows from the file name.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import JsonValue, replace
from edge_infer.errors import ConfigError, InputError
from edge_infer.plan.records import Gives, SourcePlan
from edge_infer.readers.sources import source_class, source_target

_KINDS: Final = {".wav": "audio", ".csv": "csv", ".txt": "lines"}
_FITTING: Final[Mapping[Gives, str]] = {
    "image": "name a video, a picture or a folder of pictures",
    "samples": "name a .wav or .csv file",
    "text": "name a .txt file",
}
_BLOCK: Final = 1 << 20


def kind_of(recording: str) -> str:
    """Return the kind of source that plays a file or folder; ``video`` unless the name shows another kind."""
    from edge_infer.readers.sources.images import SUFFIXES  # loads OpenCV

    suffix = Path(recording).suffix.lower()
    if Path(recording).is_dir() or "*" in recording or suffix in SUFFIXES:
        return "images"
    return _KINDS.get(suffix, "video")  # FFmpeg looks at the content


def fits(source: SourcePlan, recording: str) -> bool:
    """Return whether a recording gives the same type of data as the source."""
    gives: Gives = source_class(source_target(kind_of(recording))).gives
    return gives == source.gives


def recorded(source: SourcePlan, recording: str | None) -> SourcePlan:
    """Return the source with the named recording or, without a name, its own file. Raises `ConfigError`."""
    if recording is None:
        return _own(source)
    path, kind = Path(recording).absolute(), kind_of(recording)
    if not fits(source, recording):
        raise ConfigError(
            f"{recording}: a recording of kind {kind} gives no {source.gives}, as source {source.name} does; "
            f"{_FITTING[source.gives]}, or choose another pipeline with --pipeline"
        )
    if kind == "images":
        pattern = glob.escape(str(path)) if path.is_file() else str(path)
        return _other(source, kind, {"path": pattern, "every": 1.0})
    if kind != "csv":
        return _other(source, kind, {"file": str(path)})
    keys = {key: source.options[key] for key in ("rate", "columns") if key in source.options}
    if "rate" not in keys:
        raise ConfigError(
            f"{recording}: set `rate` of source {source.name}: a file does not contain its rate in rows a second"
        )
    return _other(source, kind, {"file": str(path), **keys})


def _own(source: SourcePlan) -> SourcePlan:
    if source.live or not ({"file", "path"} & source.options.keys()):
        raise ConfigError(f"source {source.name} is of kind {source.kind}: name a recording of it with --source")
    return _fast(source)


def _other(source: SourcePlan, kind: str, options: dict[str, JsonValue]) -> SourcePlan:
    target = source_target(kind)
    return _fast(replace(source, kind=kind, target=target, options=options, live=False, network=False, stdin=False))


def _fast(source: SourcePlan) -> SourcePlan:
    known = source_class(source.target).Options.__dataclass_fields__
    options = dict(source.options) | {key: False for key in ("realtime", "loop") if key in known}
    return replace(source, options=options)


def plays(source: SourcePlan) -> bool:
    """Return whether the source drops frames like a camera.

    If it does, a limit of frames per second selects some of the frames.
    """
    known = source_class(source.target).Options.__dataclass_fields__
    return bool(source.options.get("realtime", known["realtime"].default if "realtime" in known else True))


def digest(config: str, source: SourcePlan) -> str:
    """Return twelve hexadecimal digits of a digest over the configuration's digest and a recording's bytes.

    Pictures that cannot be read are left out, because the source skips and logs them.
    """
    place = str(source.options.get("file") or source.options.get("path"))
    paths = [Path(place)]
    if source.kind == "images":
        from edge_infer.readers.sources.images import find_pictures

        paths = [path for path in find_pictures(place) if _is_readable(path)]
    return digest_of(config, paths)


def _is_readable(path: Path) -> bool:
    """Return whether a picture can be opened; access(2) does not tell, because the sandbox does not apply to it."""
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def digest_of(config: str, paths: Iterable[Path]) -> str:
    """Return twelve hexadecimal digits of a digest over the configuration's digest and these files."""
    found = hashlib.sha256(config.encode())
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    found.update(block)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
    return found.hexdigest()[:12]
