"""Edits of the configuration file by a command: saved atomically, applied, and restored if the daemon rejects them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_infer.cli.output import say
from edge_infer.config.file_edit import apply_text, problems_of
from edge_infer.errors import ConfigError
from edge_infer.platform.config_files import FOLDER
from edge_infer.supervisor.control.server import ask


def part_file(config: Path, part: str | None) -> Path:
    """Return ``conf.d/PART.yaml`` beside the configuration, or the configuration itself; raises `ConfigError`."""
    if part is None:
        return config
    name = part.removesuffix(".yaml")
    if "/" in name or name.startswith(".") or not name.isprintable() or not name:
        raise ConfigError(f"{part!r} is not the name of a file in {FOLDER}, such as yard")
    return config.parent / FOLDER / f"{name}.yaml"


def apply_edit(
    config: Path, socket: Path, data: bytes | None, edited: bytes, news: Sequence[str], *, like: Path | None = None
) -> str | None:
    """Save ``edited`` in place of ``data``, print ``news`` and let the daemon apply it (see `apply_text`).

    Return the beginning of the active digest. If the daemon rejects the text, print the reasons, restore the file and
    return None. Raises `ConfigError`, `EdgeInferError`.
    """

    def reload() -> Mapping[str, Any]:
        for line in news:
            print(line)
        return ask(socket, {"do": "reload"})

    applied = apply_text(config, data, edited, reload, like)
    if applied.digest:
        return applied.digest[:8]
    say(applied.errors, sys.stderr)
    print("edge-infer: the configuration is rejected; the file is unchanged", file=sys.stderr)
    return None


def tell(answer: Mapping[str, Any]) -> None:
    """Print why the daemon did not apply a configuration."""
    say(problems_of(answer), sys.stderr)
