"""Edits of the configuration file by a command: saved atomically, applied, and undone if the daemon rejects them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.durable_files import replacing
from edge_infer.supervisor.control.server import ask


def read(config: Path) -> bytes:
    """Return the bytes of the file; raises `ConfigError`."""
    try:
        return config.read_bytes()
    except OSError as error:
        raise ConfigError(f"{config} cannot be read: {error.strerror or error}") from error


def apply_edit(config: Path, socket: Path, data: bytes, edited: bytes, news: Sequence[str]) -> str | None:
    """Save ``edited``, print ``news`` and let the daemon apply the file; return the beginning of the active digest.

    Return None if the daemon rejects the file; then the reasons are printed and the file is restored. Raises
    `ConfigError`, `EdgeInferError`.
    """
    file = config.resolve()
    try:
        _put(file, edited, data)
    except OSError as error:
        raise ConfigError(f"{config} cannot be edited: {error.strerror or error}; it is as it was") from error
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
        _put(file, data, edited)
    except OSError as error:
        text = f"the configuration is rejected, and {config} cannot be put back: {error.strerror or error}"
        raise ConfigError(f"{text}; edit it by hand") from error
    print("edge-infer: the configuration is rejected; the file is as it was before", file=sys.stderr)
    return None


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
