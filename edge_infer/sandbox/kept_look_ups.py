"""The services that ``deploy/install`` keeps open, because a configuration names hosts that are looked up over them.

``python -I -m edge_infer.sandbox.kept_look_ups CONFIG`` prints their sockets. Root runs it before an upgrade, and other
users may own a part of the configuration. So it searches the text, which may be invalid, and opens only regular files.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_infer.errors import EdgeInferError
from edge_infer.platform.config_files import MAX_BYTES, MAX_PARTS, TOO_LARGE, parts_of, too_many
from edge_infer.platform.logs import printable
from edge_infer.platform.paths import may_exist
from edge_infer.sandbox.name_look_up import services_for
from edge_infer.sandbox.safe_path import follow

_QUOTED_OR_COMMENT: Final = re.compile(
    r"""("(?:\\.|[^"\\\n])*"?|'[^'\n]*'?)|(?:(?<=\s)|^)\#[^\n]*""", re.MULTILINE | re.VERBOSE
)
_BEFORE: Final = r"""["']?\s*:\s*(?:[|>][-+\d]*\s+)?(?:[&!]\S*\s+)*["']?"""
"""What may stand between a key and its text: a quote, the mark of a block, an anchor, a tag. The text may be on the
next line."""
_HOST: Final = re.compile(
    rf"""\bhost{_BEFORE}([^\s"',}}#]+)|\burl{_BEFORE}([$*][^\s"',}}#]+)|://(?:[^/\s@]*@)?([^/:\s"',}}]+)"""
)
_UNKNOWN: Final = "unknown.local"
"""Stands for a name that is a variable or an alias: it may be any."""


def main() -> int:
    """Print the sockets, one a line; return 1 after an error."""
    config = Path(sys.argv[1]).absolute()
    try:
        found = services_of(config) if may_exist(config) else set()
    except (OSError, EdgeInferError) as error:
        text = str(error) if isinstance(error, EdgeInferError) else f"{error.filename or config}: {error.strerror}"
        print(f"edge-infer: {printable(text)}", file=sys.stderr)  # noqa: T201 - a program of its own
        return 1
    for service in sorted(found):
        print(service)  # noqa: T201
    return 0


def services_of(config: Path) -> set[str]:
    """Return the services for all hosts in the files of a configuration; raises `OSError`, `EdgeInferError`."""
    parts = parts_of(config)
    if len(parts) > MAX_PARTS:
        raise EdgeInferError(f"{config.parent}: {too_many(len(parts))}")
    left, found = MAX_BYTES, set()
    for path in (config, *parts):
        data = _content(path, left + 1)
        left -= len(data)
        if left < 0:
            raise EdgeInferError(f"{path}: {TOO_LARGE}")
        found |= {service for host in set(_hosts(data.decode(errors="replace"))) for service in services_for(host)}
    return found


def _content(path: Path, most: int) -> bytes:
    """Return the beginning of a regular file. A link of another user than root counts only if it leads to an own file.

    Otherwise it could name a file of the kernel or a device, which root would read.
    """
    try:
        place = follow(str(path), {0}, to_own=True)
    except OSError as error:
        if isinstance(error, EdgeInferError):
            raise
        raise EdgeInferError(f"{path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise EdgeInferError(f"{path} is no regular file")
        with open(f"/proc/self/fd/{place}", "rb") as file:  # noqa: PTH123 - a descriptor
            return file.read(most)
    finally:
        os.close(place)


def _hosts(text: str) -> Iterator[str]:
    """Yield each host that the text seems to name, without comments."""
    for found in _HOST.findall(_QUOTED_OR_COMMENT.sub(lambda each: each[1] or "", text)):
        host = "".join(found)
        if "$" in host or host.startswith("*"):
            yield _UNKNOWN
        elif not host.endswith(":"):  # the next key, after a host without a text
            yield host


if __name__ == "__main__":
    sys.exit(main())
