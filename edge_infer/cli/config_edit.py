"""Edits of the configuration file by a command: saved atomically, applied, and undone if the daemon rejects them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_infer.cli.as_owner import refuse_foreign
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.config_files import FOLDER, digest_of_texts, texts_of
from edge_infer.platform.durable_files import replacing
from edge_infer.supervisor.control.server import ask


def read(config: Path) -> bytes:
    """Return the bytes of the file; raises `ConfigError`."""
    try:
        return config.read_bytes()
    except OSError as error:
        raise ConfigError(f"{config} cannot be read: {error.strerror or error}") from error


def part_file(config: Path, part: str | None) -> Path:
    """Return ``conf.d/PART.yaml`` beside the configuration, or the configuration itself; raises `ConfigError`."""
    if part is None:
        return config
    name = part.removesuffix(".yaml")
    if "/" in name or name.startswith(".") or not name.isprintable() or not name:
        raise ConfigError(f"{part!r} is not the name of a file in {FOLDER}, such as yard")
    return config.parent / FOLDER / f"{name}.yaml"


def current_digest(config: Path) -> str:
    """Return the digest of the configuration, with all of its files; raises `ConfigError`."""
    try:
        return digest_of_texts(texts_of(config))
    except OSError as error:
        raise ConfigError(f"{error.filename or config} cannot be read: {error.strerror or error}") from error


def apply_edit(
    config: Path, socket: Path, data: bytes | None, edited: bytes, news: Sequence[str], *, like: Path | None = None
) -> str | None:
    """Save ``edited`` in place of ``data``, print ``news`` and let the daemon apply it.

    Return the beginning of the active digest, or None if the daemon rejects the text; then the reasons are printed and
    the file is restored. Without ``data`` the file is new, and gets the owner and mode of the file ``like``. Raises
    `ConfigError`, `EdgeInferError`.
    """
    save(config, edited, data, like)
    for line in news:
        print(line)
    try:
        answer = ask(socket, {"do": "reload"})
    except EdgeInferError as error:
        raise EdgeInferError(
            f"{error}; {config} stays as it was edited: edge-infer status tells if it holds"
        ) from error
    if answer.get("state") == "applied":
        return str(answer["digest"][:8])
    tell(answer)
    try:
        if data is None:
            config.unlink()
        else:
            _put(config.resolve(), data, edited)
    except OSError as error:
        text = f"the configuration is rejected, and {config} cannot be put back: {error.strerror or error}"
        raise ConfigError(f"{text}; edit it by hand") from error
    print("edge-infer: the configuration is rejected; the file is as it was before", file=sys.stderr)
    return None


def save(config: Path, data: bytes, before: bytes | None, like: Path | None = None) -> None:
    """Replace the bytes of a file, or write a new one, as `apply_edit` does; raises `ConfigError`, `EdgeInferError`.

    Root edits no file that another user could exchange for one of root meanwhile.
    """
    refuse_foreign(config)
    try:
        if before is None:
            _make(config, data, like)
        else:
            _put(config.resolve(), data, before)
    except OSError as error:
        raise ConfigError(f"{config} cannot be edited: {error.strerror or error}; it is as it was") from error


def _make(file: Path, data: bytes, like: Path | None) -> None:
    """Write a new file, with the owner and mode of the file ``like``; raises `OSError`, `EdgeInferError`."""
    if os.path.lexists(file):
        raise EdgeInferError(f"{file} was made by somebody else in this moment; it is as they left it")
    found = None if like is None else like.stat()
    file.parent.mkdir(mode=0o755, exist_ok=True)
    with replacing(file, 0o644 if found is None else found.st_mode & 0o777) as fresh:
        fresh.write(data)
        if found is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fresh.fileno(), found.st_uid, found.st_gid)


def tell(answer: Mapping[str, Any]) -> None:
    """Print why the daemon did not apply a configuration."""
    for problem in answer.get("errors", [answer.get("error", "")]):
        print(problem, file=sys.stderr)


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
            raise EdgeInferError(f"{file} was changed by somebody else in this moment; it is as they left it")
