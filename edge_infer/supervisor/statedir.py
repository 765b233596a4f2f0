"""The state directory. One daemon at a time locks it, and it is found even if the configuration is invalid."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.platform.folder_tidy import tidy_folder
from edge_infer.platform.paths import content, publisher_folder, trials_folder
from edge_infer.platform.state_owner import mount_advice, service_state
from edge_infer.sandbox.needs import store_folder
from edge_infer.sandbox.system_paths import opens_own

log = logging.getLogger(__name__)

LOCK: Final = "lock"
FORMAT_FILE: Final = "format"
FORMAT: Final = 1
"""Format of the files in the state directory. Increase it when an earlier version would misinterpret them."""
OURS: Final = (LOCK, FORMAT_FILE, "applied.json", "serving.json", "outbox.sqlite")
"""Files by which a state directory is recognized: each one contains at least one of them. Only earlier versions wrote
the last of these files."""
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_DATABASE: Final = "outbox.sqlite"
MOVED: Final = ("topics.json", "discovery.json", "open-events.json", _DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm")
"""Files of the publisher that earlier versions stored in the state directory itself."""
_UNFINISHED: Final = ("topics.new", "discovery.new", "open-events.new", "vocabulary.new")
DISPENSABLE: Final = (f"{_DATABASE}.corrupt", "outbox.space", "open-events.space", *_UNFINISHED)
"""Files of a publisher that its successors can do without."""
PUBLISHER_FILES: Final = frozenset((
    *MOVED, "vocabulary.json", f"{_DATABASE}-journal", "outbox.account", *DISPENSABLE,
))  # fmt: skip
"""All files that a publisher makes in its folder."""
ASIDE: Final = "publisher.put-aside-"
"""Prefix of the names of replaced folders of the publisher. A number follows; the newest folder has the highest."""
ON_TRIAL: Final = f"{ASIDE}on-trial"
"""Name of the publisher's folder while an empty one replaces it on trial. A start that finds it ends the trial.

The name of the folder records the trial, because a rename is atomic and works on a full disk. No publisher can
rename its folder.
"""
_ASIDE_NAME: Final = re.compile(re.escape(ASIDE) + "[1-9][0-9]{0,8}")
MAX_ASIDE: Final = 2
"""Number of replaced folders that are kept; older ones are removed."""
TRIAL_FILES: Final = ("tried.json", "equipment.json")
"""All files with results of trials. Earlier versions stored them in the state directory itself."""


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Lock the state directory; create it if it is missing. Raises `StartError` if another daemon holds the lock."""
    try:
        make_folders(state_dir)
        _move(state_dir)
        file = _open_lock(state_dir)
    except StartError:
        raise
    except FileExistsError as error:
        fault = _not_a_folder(state_dir, Path(error.filename))
        raise StartError(f"the state directory {state_dir} cannot be used: {fault}") from error
    except OSError as error:
        raise StartError(
            f"the state directory {state_dir} cannot be used: {error.strerror or error}; {_remedy(state_dir)}"
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _in_use(state_dir, _holder(file)) from error
        _claim_format(state_dir)
        with suppress(OSError):  # on a full disk the lock holds, but the file lacks the pid of its holder
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _open_lock(state_dir: Path) -> int:
    """Open the lock file; on a read-only disk only for reading. Raises `OSError`.

    A worn-out card may become read-only. The daemon then still runs: it stores nothing, and the publisher keeps its
    messages in memory.
    """
    try:
        return os.open(state_dir / LOCK, _OPEN, 0o640)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    file = os.open(state_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    log.error(
        "%s is on a read-only disk, so the daemon stores nothing and keeps waiting messages in memory; remount it%s",
        state_dir,
        # the unit's mount namespace has a mount of its own for this folder, which stays read-only
        ", then run: systemctl restart edge-infer" if service_state(state_dir / LOCK) else "",
    )
    return file


def _claim_format(state_dir: Path) -> None:
    """Record the format of the files.

    Raises `StartError` if a newer version wrote them, because this version would misinterpret them.
    """
    file, found = state_dir / FORMAT_FILE, 0
    with suppress(OSError, ValueError):
        found = int(content(file, 16))
    if found > FORMAT:
        real = os.path.realpath(state_dir)  # systemd keeps it elsewhere, and creates the link again
        place, newer = shlex.quote(real), shlex.quote(f"{real}.newer")
        raise StartError(
            f"the state directory {state_dir} was written by a newer edge-infer (format {found}, this version knows "
            f"{FORMAT}): run that version again, or start with a new state that keeps only the models: "
            f"mv {place} {newer} && mkdir {place} && cp -a {newer}/models {place}/"
        )
    if found < FORMAT:
        with suppress(OSError):  # on a full disk the format is recorded at the next start
            file.write_text(f"{FORMAT}\n")


def _in_use(state_dir: Path, holder: str) -> StartError:
    return StartError(
        f"another edge-infer (pid {holder}) uses {state_dir}; stop it, or give this one a device.state_dir of its own"
    )


def require_free(state_dir: Path) -> None:
    """Raise `StartError` if another daemon holds the state directory: its files are then not those of an earlier run.

    This takes no lock, so that it may be called before the configuration is read; see `locked`.
    """
    holder = ""
    with suppress(OSError):  # `locked` reports it
        holder = held(state_dir)
    if holder:
        raise _in_use(state_dir, holder)


def held(state_dir: Path) -> str:
    """Return the pid of the process that holds the state directory, or ``unknown``; empty if it is not locked.

    Raises `OSError`.
    """
    try:
        file = os.open(state_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(file)
    finally:
        os.close(file)
    return ""


def _holder(file: int) -> str:
    return os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"


def _remedy(state_dir: Path) -> str:
    """Return the remedy by which this user gets access."""
    if advice := mount_advice(state_dir):
        return advice
    user = f"user {os.geteuid()}"
    with suppress(KeyError):
        user = pwd.getpwuid(os.geteuid()).pw_name
    remedy = f"make it writable for {user} or name another one under device.state_dir"
    if "private" in os.path.realpath(state_dir).split("/"):
        return f"{remedy}; if it is the service's, start that: systemctl start edge-infer"
    return remedy


def _not_a_folder(state_dir: Path, place: Path) -> str:
    """Return the fault and the remedy if a file or a link is in the place of a folder."""
    if place == state_dir:  # may be any file, which a configuration names by mistake
        return f"{place} is not a folder; name one under device.state_dir"
    return f"{place} is not a folder; remove it: sudo rm {shlex.quote(str(place))}"


def make_folders(state_dir: Path) -> None:
    """Create the state directory and its folders, because a sandbox admits only folders that exist. Raises `OSError`.

    A folder with one of these names that another program created is never used, because tidying would empty it.
    """
    state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not any(os.path.lexists(state_dir / name) for name in OURS):
        for folder in (publisher_folder(state_dir), store_folder(state_dir), trials_folder(state_dir)):
            if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
                raise StartError(
                    f"the state directory {state_dir} contains {folder.name}, which another program made; name an "
                    "empty folder under device.state_dir, or move that folder away"
                )
        os.close(os.open(state_dir / LOCK, _OPEN, 0o640))
    publisher_folder(state_dir).mkdir(mode=0o700, exist_ok=True)
    store_folder(state_dir).mkdir(mode=0o755, exist_ok=True)
    trials_folder(state_dir).mkdir(mode=0o750, exist_ok=True)


def leave_temporary(state_dir: Path) -> None:
    """Unset ``$TMPDIR`` if programs of sources may write there: they could replace files of the daemon."""
    if opens_own(place := os.environ.get("TMPDIR", ""), state_dir):
        log.warning(
            "TMPDIR=%s contains the control socket or the state, so programs of sources use /tmp instead", place
        )
        del os.environ["TMPDIR"]


def tidy_publisher(state_dir: str | Path) -> bool:
    """Remove everything that is not a file of the publisher; return whether some of it is left for another call.

    An earlier publisher that ran an attacker's code may have left named pipes, links, folders, unreadable files, or
    many files.
    """
    left = tidy_folder(publisher_folder(state_dir), PUBLISHER_FILES, level=logging.WARNING)
    aside = folders_aside(state_dir)
    for folder in aside[:-MAX_ASIDE]:
        left |= tidy_folder(folder, (), level=logging.WARNING)  # its messages are lost with it
        with suppress(OSError):  # the next call continues
            folder.rmdir()
            log.warning(
                "%s: old publisher folder removed together with its messages; only the newest %d of these folders are "
                "kept",
                folder, MAX_ASIDE,
            )  # fmt: skip
    for folder in (*aside[-MAX_ASIDE:], Path(state_dir, ON_TRIAL)):
        left |= tidy_folder(folder, PUBLISHER_FILES, level=logging.WARNING)
    return left


def folders_aside(state_dir: str | Path) -> list[Path]:
    """Return the replaced folders of the publisher, the oldest first, without the one on trial.

    Raises `OSError`.
    """
    found = (each for each in Path(state_dir).iterdir() if _ASIDE_NAME.fullmatch(each.name))
    return sorted(found, key=lambda each: int(each.name.removeprefix(ASIDE)))


def all_aside(state_dir: str | Path) -> list[Path]:
    """Return the replaced folders of the publisher, the oldest first, and then the one on trial.

    The list is empty if this user cannot read the state directory.
    """
    try:
        trial = Path(state_dir, ON_TRIAL)
        return [*folders_aside(state_dir), *([trial] if trial.is_dir() else [])]
    except OSError:
        return []


def tidy_trials(state_dir: str | Path) -> bool:
    """Remove everything that is not a result of trials, between two readings.

    Return whether some of it is left for another call.
    """
    return tidy_folder(trials_folder(state_dir), TRIAL_FILES, level=logging.WARNING)


def _move(state_dir: Path) -> None:
    """Move files from the places that earlier versions used."""
    for names, folder in ((MOVED, publisher_folder(state_dir)), (TRIAL_FILES, trials_folder(state_dir))):
        for name in names:
            if stat.S_ISREG(_mode(state_dir / name)):  # a folder of this name is not from an earlier version
                (state_dir / name).rename(folder / name)


def _mode(path: Path) -> int:
    """Return the type and mode of a file, not following a link; 0 if there is none."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0
