"""A configuration in several files: ``conf.d/*.yaml`` beside the main file may add models, sources and pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edge_infer.errors import ConfigError
from edge_infer.plan.records import Problem
from edge_infer.platform.config_files import FOLDER, MAX_BYTES, MAX_PARTS, TOO_LARGE, digest_of, parts_of, too_many
from edge_infer.platform.logs import printable
from edge_infer.platform.permissions import why_unreadable
from edge_infer.yamlfile.load import Document, Steps, parse_document, read_document

SECTIONS: Final = ("models", "sources", "pipelines")
"""The sections that a file in ``conf.d`` may have; each contains named entries."""


def read_config(
    config: Path, environment: Mapping[str, str] | None = None, draft: tuple[Path, bytes] | None = None
) -> Document:
    """Read a configuration with its parts. Invalid content raises no error.

    ``draft`` is the path of one of the files and a text that is read in place of its content.
    """
    at, text = (None, b"") if draft is None else (draft[0].absolute(), draft[1])

    def read(path: Path) -> Document:
        if path.absolute() == at:
            return parse_document(path, text, environment)
        return read_document(path, environment)

    def broken(place: Path, why: str) -> Document:
        return replace(main, digest="", value=None, problems=(*main.problems, Problem(str(place), 1, "", why)))

    main, folder = read(config), config.parent / FOLDER
    try:
        paths = list(parts_of(config))
    except OSError as error:
        closed = config.absolute().parent / FOLDER
        return broken(closed, why_unreadable(closed, error))
    if at is not None and at.parent == folder.absolute() and at not in [each.absolute() for each in paths]:
        paths = sorted([*paths, folder / at.name])
    if (odd := next((path.name for path in paths if not _is_text(path.name)), None)) is not None:
        return broken(folder, f"has a file whose name is not UTF-8: {printable(odd)}; rename it")
    if len(paths) > MAX_PARTS:
        return broken(folder, too_many(len(paths)))
    if sum(map(_size, (config, *paths))) > MAX_BYTES:
        return broken(folder, f"{TOO_LARGE}; remove files that do not belong there")
    return merged(main, [(path.name, read(path)) for path in paths]) if paths else main


def _is_text(name: str) -> bool:
    """Return whether a file name can be part of a message."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # this is reported when the file is read
        return 0


def merged(main: Document, parts: list[tuple[str, Document]]) -> Document:
    """Return one document with the entries of all files. Problems of an entry name the file that contains the entry."""
    problems = [*main.problems, *(problem for _, part in parts for problem in part.problems)]
    read = main.digest and all(part.digest for _, part in parts)
    digest = digest_of(main.digest, [(name, part.digest) for name, part in parts]) if read else ""
    if main.value is None or any(part.value is None for _, part in parts):
        return replace(main, digest=digest, value=None, problems=tuple(problems))
    value = dict(main.value)
    homes: dict[Steps, Document] = {}
    for section in SECTIONS:
        body = value.get(section)
        if isinstance(body, dict):
            value[section] = dict(body)
            homes |= {(section, name): main for name in body}
    for _, part in parts:
        for section, body in part.value.items():
            problems += _misplaced(main, part, section, body)
            if section not in SECTIONS or not isinstance(body, dict) or not body:
                continue
            whole = value.setdefault(section, {})
            if not isinstance(whole, dict):
                continue
            for name, entry in body.items():
                if (section, name) in homes:
                    problems.append(_twice(homes[section, name], part, section, name))
                else:
                    homes[section, name] = part
                    whole[name] = entry
    homes = {place: part for place, part in homes.items() if part is not main}
    return replace(main, digest=digest, value=value, problems=tuple(problems), homes=homes)


def _misplaced(main: Document, part: Document, section: str, body: Any) -> Iterator[Problem]:
    if section not in SECTIONS:
        yield part.problem((section,), f"belongs in {main.file}; a file of {FOLDER} has {', '.join(SECTIONS)} only")
    elif not isinstance(body, dict):
        yield part.problem((section,), "expected names with their keys below, as in the main file")


def _twice(first: Document, part: Document, section: str, name: str) -> Problem:
    where = f"{first.file}:{first.line((section, name))}"
    return part.problem((section, name), f"is defined twice (first in {where}); remove or rename one of them")


def file_of(config: Path, section: str, name: str) -> Path:
    """Return the file that contains this entry; the main file if none does. Raises `ConfigError`."""
    try:
        parts = parts_of(config)
    except OSError as error:
        raise ConfigError(f"{config.parent / FOLDER} cannot be read: {error.strerror or error}") from error
    for path in parts:
        value = read_document(path).value
        body = value.get(section) if isinstance(value, dict) else None
        if isinstance(body, dict) and name in body:
            return path
    return config
