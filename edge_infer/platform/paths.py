"""Paths: their defaults, and whether a file has changed."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from edge_infer.platform.environment import variable

# Default paths and names.

DEFAULT_CONFIG: Final = Path("/etc/edge-infer/config.yaml")
ROOT_STATE: Final = Path("/var/lib/edge-infer")


def default_state_dir(environment: Mapping[str, str] = os.environ, uid: int | None = None) -> Path:
    """Return ``$STATE_DIRECTORY`` (systemd), for root ``/var/lib/edge-infer``, else ``$XDG_STATE_HOME/edge-infer``."""
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if (os.geteuid() if uid is None else uid) == 0:
        return ROOT_STATE
    home = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME") or Path.home(), ".local", "state")
    return Path(home, "edge-infer")


def publisher_folder(state_dir: str | Path) -> Path:
    """Return the publisher's folder; the publisher can access no other part of the state directory."""
    return Path(state_dir, "publisher")


def trials_folder(state_dir: str | Path) -> Path:
    """Return the folder for results of trials.

    Apart from the store, the process that reads a configuration writes only here.
    """
    return Path(state_dir, "trials")


def default_device_id(host: str | None = None) -> str:
    """Return the host name up to its first dot, with ``-`` for characters that a name may not have."""
    found = re.sub(r"[^A-Za-z0-9_-]", "-", (os.uname().nodename if host is None else host).split(".")[0])
    return found.lstrip("-_")[:64] or "edge"


_WILDCARDS: Final = frozenset("*?[")


def without_wildcards(path: str) -> str:
    """Return the folder before the first wildcard of a path; the path itself if it exists or has no wildcard."""
    parts = Path(path).parts
    plain = next((place for place, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts))
    # `Path.exists` raises in a closed folder, which another user may own.
    return path if os.path.exists(path) else str(Path(*parts[:plain]))  # noqa: PTH110


def source_folder(path: str) -> str:
    """Return the folder of a source that is a file, a folder or a pattern."""
    place = without_wildcards(path)
    return place if os.path.isdir(place) else os.path.dirname(place)  # noqa: PTH112, PTH120 - as above


def open_regular(path: Path, flags: int = 0) -> BinaryIO | None:
    """Open a regular file; None for anything else, because opening a pipe must not block. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return os.fdopen(file, "rb")


def content(path: Path, most: int) -> bytes:
    """Return the first ``most`` bytes of a regular file; empty if the path is anything else. Raises `OSError`."""
    stream = open_regular(path)
    if stream is None:
        return b""
    with stream:
        return stream.read(most)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, also in a folder with a default ACL, where no umask applies.

    An existing file keeps its mode. Raises `OSError`.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)


_STATE_DIR: Final = re.compile(
    r"""state_dir["']?[ \t]*:[ \t]*(?:[>|][-+]?[ \t]*\n[ \t]*([^\n]{0,512})"""
    r"""|"([^"\n]{0,512})"|'([^'\n]{0,512})'|((?:\$\{\w{1,64}\}|[^#,}\n]){0,512}))"""
)
_VARIABLE: Final = re.compile(r"\$\{(\w{1,64})\}")


def may_exist(path: Path) -> bool:
    """Return whether there is a file or a link, perhaps behind a folder that this user may not enter."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def hinted(config: Path) -> Path:
    """Return the state directory that a configuration seems to name, even if it is invalid; otherwise the default."""
    return named_state_dir(config) or default_state_dir()


def named_state_dir(config: Path) -> Path | None:
    """Return the state directory that a configuration seems to name, even if it is invalid."""
    try:
        text = content(config, 65536).decode("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"^[ \t]*(?:device:\s*\{.*?)?state_dir:\s*[\"']?([^\"'#,}\n]+)", text, re.MULTILINE)
    return config.parent / _expanded(found[1].strip()) if found else None


def _expanded(text: str) -> str:
    """Expand ``${NAME}`` in linear time; `os.path.expandvars` of many Python versions takes quadratic time."""
    return _VARIABLE.sub(lambda found: variable(found[1], found[0]), text)


def written_state_dirs(config: Path, most: int) -> set[Path]:
    """Return every folder that follows the key in the first ``most`` bytes of a file; raises `OSError`."""
    text = content(config, most).decode("utf-8", "replace")
    values = (next(filter(None, found.groups()), "") for found in _STATE_DIR.finditer(text))
    return {config.parent / _expanded(value.strip()) for value in values if value.strip()}


# Whether a file is in a folder, whatever the two paths look like.


class KnownFiles:
    """Some files, and all folders above them, also by way of links and bind mounts."""

    def __init__(self, files: Iterable[str]) -> None:
        self._paths: dict[Path, str] = {}
        for file in files:
            for place in (_real(Path(file)), _real(Path(file).parent) / Path(file).name):  # a link, and its target
                for each in (place, *place.parents):
                    self._paths.setdefault(each, file)
        self._identities = {_identity(each): file for each, file in reversed(self._paths.items())}
        self._identities.pop((), None)

    def first_within(self, place: str) -> str | None:
        """Return the first of the files that is ``place`` or lies below it; None if there is none."""
        real = _real(Path(place))
        return self._paths.get(real) or self._identities.get(_identity(real))


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links; no path contains a NUL
        return path


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    return status.st_dev, status.st_ino


# Metadata of a path that shows whether its file has changed.

Look = tuple[int, ...]
"""Device, inode, size and times of the path's target, then inode and time of the link itself; empty if missing."""


def look(path: Path) -> Look:
    """Return the metadata of a path now."""
    try:
        last, through = path.stat(), path.lstat()
    except (OSError, ValueError):
        return ()
    return (
        last.st_dev, last.st_ino, last.st_size, last.st_mtime_ns, last.st_ctime_ns,
        through.st_ino, through.st_mtime_ns,
    )  # fmt: skip


def start_command(config: Path = DEFAULT_CONFIG) -> str:
    """Return the command that starts a daemon: that of systemd for the configuration of the installed service."""
    installed = any(folder.joinpath("edge-infer.service").exists() for folder in _UNITS)
    if installed and config == DEFAULT_CONFIG:
        return "sudo systemctl start edge-infer"
    return f"edge-infer run{config_option(config)}"


def config_option(config: Path) -> str:
    """Return the option that names a configuration in a command; empty for the default one."""
    return "" if config == DEFAULT_CONFIG else f" -c {shlex.quote(str(config))}"


_UNITS: Final = tuple(map(Path, ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")))
