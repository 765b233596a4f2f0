"""Put the publisher's folder aside when what an earlier publisher left in it ends every later one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from edge_infer.platform.paths import publisher_folder
from edge_infer.supervisor.statedir import ASIDE, folders_aside

log = logging.getLogger(__name__)

MAX_FAILURES: Final = 3
"""Failures in a row, none after healthy work, after which the folder is put aside, or comes back."""


class PublisherFolder:
    """The folder, and the failures of publishers that its content may have caused.

    It is put aside once, as a trial. If publishers fail with an empty folder as well, the cause is elsewhere: the old
    folder comes back, and stays until a publisher was healthy.
    """

    def __init__(self) -> None:
        self.waiting: int | None = None
        """Messages that wait, as a publisher reported last."""
        self._failures = 0
        self._aside: Path | None = None  # the folder that an empty one replaces on trial
        self._blameless = False  # an empty folder did not help

    def healthy(self) -> None:
        """Record that a publisher did healthy work: earlier failures count no more."""
        self._failures, self._aside, self._blameless = 0, None, False

    def failed(self, state_dir: str) -> str:
        """Count a failure that the folder may have caused; return what was done about it, for the operator."""
        self._failures += 1
        if self._failures < MAX_FAILURES or self._blameless:
            return ""
        self._failures, before = 0, self._aside
        self._blameless, self._aside = before is not None, None
        folder = publisher_folder(state_dir)
        try:
            aside = _exchange(folder, before)
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
