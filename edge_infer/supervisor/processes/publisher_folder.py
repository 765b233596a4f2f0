"""Replacement of the publisher's folder by an empty one if the content of the folder makes every publisher fail."""

from __future__ import annotations

import errno
import logging
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from edge_infer.platform.paths import publisher_folder
from edge_infer.supervisor.statedir import ASIDE, DISPENSABLE, ON_TRIAL, folders_aside

log = logging.getLogger(__name__)

MAX_FAILURES: Final = 3
"""Failures in a row, without healthy work between them, after which the supervisor starts or ends a trial."""
FIRST_PAUSE, LONGEST_PAUSE = 600.0, 3600.0
"""Seconds from a trial that did not help to the next trial. Each pause is twice as long as the previous one."""
Moved = TypeVar("Moved")
_INTERRUPTED: Final = "the daemon ended while the publisher tried an empty folder"


class PublisherFolder:
    """The publisher's folder, and the failures of publishers that its content may have caused.

    After several failures a trial begins: the supervisor renames the folder to `ON_TRIAL` and makes an empty one.

      - If a publisher works with the empty folder, the old one is renamed to the next ``publisher.put-aside-`` name.
    - If publishers also fail with the empty folder, something else causes the failures, and the supervisor moves the
      old folder back. It repeats the trial after a pause, because the folder may be a second cause that remains.

    The supervisor stores the trial only in the name of the old folder. So a start can end a trial that a kill or a
    power cut interrupted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting: int | None = None
        """Number of queued messages in the last report of a publisher."""
        self._failures = 0
        self._trial: Path | None = None  # the folder that an empty one replaces on trial
        self._held = ""  # how many messages wait in that folder, as text
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._not_before = 0.0  # when the next trial may begin

    def end_trial(self, state_dir: str | Path) -> str:
        """Move the folder of an unfinished trial back; return a sentence about it for the operator.

        The daemon calls it when it stops, because the next version may not know such trials, and when it starts,
        because the previous daemon may have been killed. Nothing has shown yet that the old folder causes the failures.
        If it does, a new trial begins.
        """
        folder, trial = publisher_folder(state_dir), Path(state_dir, ON_TRIAL)
        if not trial.is_dir():
            return ""
        try:
            aside = _on_full_disk(_move_back, folder, trial)
        except OSError as error:
            self._trial, self._held = trial, _counted(None)
            return f"{_INTERRUPTED}; the supervisor cannot move {trial} back to {folder}: {error.strerror}"
        self._trial = None
        return f"{_INTERRUPTED}; the supervisor moved {trial} back to {folder}{_newer(aside)}"

    def healthy(self) -> str:
        """Record that a publisher did healthy work: forget earlier failures and end a trial.

        Return a sentence about the folder on trial for the operator.
        """
        self._failures = 0
        self._pause, self._not_before = FIRST_PAUSE, 0.0
        if self._trial is None:
            return ""
        try:
            aside = self._trial.rename(_next_aside(self._trial.parent))
        except FileNotFoundError:  # the operator has moved it
            self._trial = None
            return ""
        except OSError:
            return ""  # on a disk that has become read-only; the next healthy report tries again
        self._trial = None
        return (
            f"the publisher works with an empty folder, so the supervisor keeps the old one, with {self._held}, as "
            f"{aside}; {remedy(aside, [aside])}"
        )

    def failed(self, state_dir: str) -> str:
        """Count a failure that the folder may have caused; return a sentence about what was done, for the operator."""
        self._failures += 1
        if self._failures < MAX_FAILURES or self._clock() < self._not_before:
            return ""
        self._failures = 0
        folder, trial = publisher_folder(state_dir), Path(state_dir, ON_TRIAL)
        try:
            if trial.is_dir():
                return self._fail_trial(folder, trial)
            return self._begin_trial(folder, trial)
        except OSError as error:
            return (
                f"the publisher failed {MAX_FAILURES} times, and the supervisor cannot replace {folder}: "
                f"{error.strerror}"
            )

    def _begin_trial(self, folder: Path, trial: Path) -> str:
        """Replace the folder by an empty one on trial. Raises `OSError`, and then nothing has changed."""
        _on_full_disk(_replace, folder, trial)
        self._trial, self._held, self.waiting = trial, _counted(self.waiting), None
        return (
            f"the publisher failed {MAX_FAILURES} times in a row, so the supervisor moved its folder, with "
            f"{self._held}, to {trial}; it moves the folder back unless the publisher works with an empty one"
        )

    def _fail_trial(self, folder: Path, trial: Path) -> str:
        """Move the folder on trial back, because an empty one does not help. Raises `OSError`."""
        self._not_before = self._clock() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        aside = _on_full_disk(_move_back, folder, trial)
        self._trial = self.waiting = None
        return (
            f"the publisher failed {MAX_FAILURES} times with an empty folder as well, so the supervisor moved "
            f"{trial} back to {folder}{_newer(aside)}"
        )


def _counted(waiting: int | None) -> str:
    return f"{'an unknown number of' if waiting is None else waiting} queued messages"


def _newer(aside: Path | None) -> str:
    return "" if aside is None else f"; newer messages are in {aside}"


def remedy(aside: str | Path, every: Sequence[str | Path]) -> str:
    """Return advice for the operator about the folder ``aside``, one of ``every`` folder that a trial replaced.

    The command renames the current folder to the next name, because it may also contain queued messages.
    """
    path, names = Path(aside), [Path(each).name for each in every]
    if path.name == ON_TRIAL:
        return "it comes back if publishers fail without it, or when the daemon stops or starts"
    # the stop of the daemon may end a trial, which takes a name, too
    fresh = _named(path.parent, _next_number(names) + (ON_TRIAL in names))
    now, old, new = (shlex.quote(str(each)) for each in (publisher_folder(path.parent), path, fresh))
    # with -T the command fails if a folder has the new name already, instead of moving into it
    return (
        f"to send its messages, stop the daemon, then: sudo mv -T {now} {new} && sudo mv -T {old} {now}; or remove it"
    )


def _next_aside(state_dir: Path) -> Path:
    """Return the next ``publisher.put-aside-`` path. Raises `OSError`."""
    return _named(state_dir, _next_number(each.name for each in folders_aside(state_dir)))


def _next_number(names: Iterable[str]) -> int:
    return max((int(name.removeprefix(ASIDE)) for name in names if name != ON_TRIAL), default=0) + 1


def _named(state_dir: Path, number: int) -> Path:
    return state_dir / f"{ASIDE}{number}"


def _on_full_disk(move: Callable[[Path, Path], Moved], folder: Path, trial: Path) -> Moved:
    """Move the folders; if the disk is full, remove the files that no successor needs and try again.

    Raises `OSError`.
    """
    try:
        return move(folder, trial)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    for name in DISPENSABLE:
        with suppress(OSError):  # the second attempt reports what could not be removed
            (folder / name).unlink()
    return move(folder, trial)


def _replace(folder: Path, trial: Path) -> None:
    """Rename the folder to ``trial``, and make an empty one. Raises `OSError`, and then nothing has changed."""
    folder.rename(trial)
    try:
        folder.mkdir(mode=0o700)  # fails on a full disk
    except OSError:
        trial.rename(folder)
        raise


def _move_back(folder: Path, trial: Path) -> Path | None:
    """Move the folder on trial back. Return the new path of the newer folder; None if that was empty or missing.

    After a power cut between two renames the folder is missing, or an empty one is there. Raises `OSError`, and then
    nothing has changed.
    """
    try:
        trial.rename(folder)  # in the place of an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR):  # the last one if ours is a link
            raise
    else:
        return None
    aside = _next_aside(folder.parent)
    folder.rename(aside)
    try:
        trial.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    return aside
