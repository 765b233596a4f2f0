"""Put the publisher's folder aside when what an earlier publisher left in it ends every later one."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.platform.paths import publisher_folder
from edge_infer.supervisor.statedir import ASIDE, DISPENSABLE, folders_aside

log = logging.getLogger(__name__)

MAX_FAILURES: Final = 3
"""Failures in a row, none after healthy work, after which the folder is put aside, or comes back."""
FIRST_PAUSE, LONGEST_PAUSE = 600.0, 3600.0
"""Seconds from a trial that did not help to the next one; each pause is twice as long as the one before."""


class PublisherFolder:
    """The folder, and the failures of publishers that its content may have caused.

    It is put aside as a trial. If publishers fail with an empty folder as well, the cause is elsewhere: the old folder
    comes back. The trial is repeated after a pause, because that cause may pass while the folder still has one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting: int | None = None
        """Messages that wait, as a publisher reported last."""
        self._failures = 0
        self._aside: Path | None = None  # the folder that an empty one replaces on trial
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._not_before = 0.0  # when the next trial may begin

    def healthy(self) -> None:
        """Record that a publisher did healthy work: earlier failures count no more."""
        self._failures, self._aside = 0, None
        self._pause, self._not_before = FIRST_PAUSE, 0.0

    def failed(self, state_dir: str) -> str:
        """Count a failure that the folder may have caused; return what was done about it, for the operator."""
        self._failures += 1
        if self._failures < MAX_FAILURES or self._clock() < self._not_before:
            return ""
        self._failures, before = 0, self._aside
        if before is not None:
            self._aside, self._not_before = None, self._clock() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        folder = publisher_folder(state_dir)
        try:
            aside = _exchange_on_full_disk(folder, before)
        except OSError as error:
            return (
                f"the publisher failed {MAX_FAILURES} times, and the supervisor cannot replace {folder}: "
                f"{error.strerror}"
            )
        if before is not None:
            return (
                f"the publisher failed {MAX_FAILURES} times with an empty folder as well, so the supervisor moved "
                f"{before} back to {folder}; newer messages are in {aside}"
            )
        self._aside = aside
        count = "an unknown number of" if self.waiting is None else str(self.waiting)
        self.waiting = None
        return (
            f"the publisher failed {MAX_FAILURES} times in a row: the supervisor moved its folder to {aside}, "
            f"with {count} queued messages, and made an empty one; to send the messages, stop the daemon and move "
            "the folder back"
        )


def _exchange(folder: Path, other: Path | None) -> Path:
    """Move the folder aside, put the ``other`` or an empty one into its place, and return the new path of the first.

    Raises `OSError`, and then nothing has changed.
    """
    last = [int(each.name.removeprefix(ASIDE)) for each in folders_aside(folder.parent)][-1:] or [0]
    aside = folder.with_name(f"{ASIDE}{last[0] + 1}")
    folder.rename(aside)
    try:
        if other is None:
            folder.mkdir(mode=0o700)  # a full disk may have no room for it
        else:
            other.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    return aside


def _exchange_on_full_disk(folder: Path, other: Path | None) -> Path:
    """Exchange the folder; if the disk is full, remove the files that no successor needs and try again."""
    try:
        return _exchange(folder, other)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    for name in DISPENSABLE:
        with suppress(OSError):  # the second attempt reports what could not be removed
            (folder / name).unlink()
    return _exchange(folder, other)
