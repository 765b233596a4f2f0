"""Replaces a configuration file by an edited text: saved atomically, applied, and restored if rejected."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.config_files import digest_of_texts, texts_of
from edge_infer.platform.durable_files import replacing
from edge_infer.sandbox.foreign import refuse_foreign


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """Outcome of an edit.

    ``digest`` is the digest of the now active configuration, or empty if the edit was rejected because of ``errors``.
    """

    digest: str
    errors: tuple[str, ...] = ()


def read(config: Path) -> bytes:
    """Return the bytes of the file; raises `ConfigError`."""
    try:
        return config.read_bytes()
    except OSError as error:
        raise ConfigError(f"{config} cannot be read: {error.strerror or error}") from error


def current_digest(config: Path) -> str:
    """Return the digest of the configuration, with all of its files; raises `ConfigError`."""
    try:
        return digest_of_texts(texts_of(config))
    except OSError as error:
        raise ConfigError(f"{error.filename or config} cannot be read: {error.strerror or error}") from error


def apply_text(
    file: Path, before: bytes | None, edited: bytes, reload: Callable[[], Mapping[str, Any]], like: Path | None = None
) -> EditOutcome:
    """Save ``edited`` in place of ``before``; ``reload`` asks the daemon to apply it.

    If the daemon rejects the configuration, restore the file.

    Without ``before`` the file is new and gets the owner and mode of the file ``like``. Raises `ConfigError`,
    `EdgeInferError`.
    """
    save(file, edited, before, like)
    try:
        answer = reload()
    except EdgeInferError as error:
        raise EdgeInferError(
            f"{error}; {file} keeps the edit: edge-infer status shows whether the daemon has applied it"
        ) from error
    if answer.get("state") == "applied":
        return EditOutcome(str(answer["digest"]))
    try:
        if before is None:
            file.unlink()
        else:
            _put(file.resolve(), before, edited)
    except OSError as error:
        text = f"the daemon rejects the configuration, and {file} cannot be restored: {error.strerror or error}"
        raise ConfigError(f"{text}; edit it by hand") from error
    return EditOutcome("", problems_of(answer))


def problems_of(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reasons why the daemon did not apply a configuration, from its answer to a reload."""
    return tuple(map(str, answer.get("errors", [answer.get("error", "")])))


def save(config: Path, data: bytes, before: bytes | None, like: Path | None = None) -> None:
    """Replace the bytes of a file or write a new file, as `apply_text` does; raises `ConfigError`, `EdgeInferError`.

    Root edits no file that another user could replace by a file of root in the meantime.
    """
    refuse_foreign(config)
    try:
        if before is None:
            _make(config, data, like)
        else:
            _put(config.resolve(), data, before)
    except OSError as error:
        raise ConfigError(f"{config} cannot be edited: {error.strerror or error}; the file is unchanged") from error


def _make(file: Path, data: bytes, like: Path | None) -> None:
    """Write a new file, with the owner and mode of the file ``like``; raises `OSError`, `EdgeInferError`."""
    if os.path.lexists(file):
        raise EdgeInferError(f"another program has just created {file}; that file is unchanged")
    found = None if like is None else like.stat()
    file.parent.mkdir(mode=0o755, exist_ok=True)
    with replacing(file, 0o644 if found is None else found.st_mode & 0o777) as fresh:
        fresh.write(data)
        if found is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fresh.fileno(), found.st_uid, found.st_gid)


def _put(file: Path, data: bytes, before: bytes) -> None:
    """Replace the file's bytes and keep its owner, mode and attributes; raises `OSError`, `EdgeInferError`."""
    found = file.stat()
    with replacing(file, found.st_mode & 0o7777) as fresh:
        fresh.write(data)
        fresh.flush()
        shutil.copystat(file, fresh.name)
        os.utime(fresh.name)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.fstat(fresh.fileno()).st_gid):
            os.fchown(fresh.fileno(), found.st_uid, found.st_gid)
        if file.read_bytes() != before:
            raise EdgeInferError(f"another program has just changed {file}; that change is kept")
