"""Checks of the publisher's folder: whether the daemon can store its outbox there, and whether older ones remain.

The supervisor moves a folder that makes every publisher fail to ``publisher.put-aside-`` and a number.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_infer.doctor.finding import Finding, fail, warn
from edge_infer.platform.paths import publisher_folder
from edge_infer.platform.state_owner import chown_command, foreign_entry
from edge_infer.supervisor.processes.publisher_folder import remedy
from edge_infer.supervisor.statedir import all_aside
from edge_infer.supervisor.status import Status


def outbox(state_dir: Path, status: Status | None) -> Iterator[Finding]:
    """Yield a finding if the daemon reports that it cannot write its outbox or, without a daemon, if none could.

    The daemon may run as another user and with another configuration, so its report and its state directory count.
    """
    degraded = status is not None and status.outbox is not None and status.outbox.degraded
    if status is not None and not degraded:
        return
    if status is not None and status.state_dir is not None:
        state_dir = Path(status.state_dir)
    found = _closed(publisher_folder(state_dir))
    if found is None and degraded:
        found = _unexplained(state_dir)
    if found is not None:
        yield found


def _closed(folder: Path) -> Finding | None:
    """Return the finding about a folder that its owner cannot use.

    Return None if the owner can use it, or if this user cannot see it.
    """
    try:
        mode = folder.lstat().st_mode
        is_folder = folder.is_dir()  # a link to one is used
    except OSError:
        return None
    place = shlex.quote(str(folder))
    if not is_folder:
        return fail("outbox", f"{folder}: it is not a folder, so no daemon can start", f"remove it: sudo rm {place}")
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        text = f"its owner may not use it (mode {stat.S_IMODE(mode):03o}), so messages wait in memory only"
        return warn("outbox", f"{folder}: {text}", f"run: sudo chmod 700 {place}")
    return None


def _unexplained(state_dir: Path) -> Finding:
    """Return the finding if the folder's mode is not the reason, or if this user cannot see the folder."""
    folder, text = publisher_folder(state_dir), "the daemon cannot write there, so messages wait in memory only"
    try:
        folder.stat()
    except PermissionError:
        return warn("outbox", f"{folder}: {text}", "to see why, run: sudo edge-infer doctor")
    except FileNotFoundError:
        return warn("outbox", f"{folder}: it does not exist, so messages wait in memory only", "restart the daemon")
    foreign = foreign_entry(state_dir, folder.name)
    if foreign is not None:
        fact = f"{foreign.path}: it belongs to another user than {state_dir}, so messages wait in memory only"
        real = folder.resolve()  # the service's state directory is a link, which chown -R does not follow
        return warn("outbox", fact, f"run: {chown_command(state_dir, real)}")
    return warn("outbox", f"{folder}: {text}", "free space if its disk is full; otherwise the daemon's log shows why")


def put_aside(state_dir: Path, status: Status | None) -> Iterator[Finding]:
    """Yield a finding for each ``publisher.put-aside-`` folder, as the daemon reports it or as found on the disk."""
    paths = all_aside(state_dir) if status is None else status.put_aside
    for path in paths:
        yield warn("outbox", f"{path} was put aside and may hold messages", remedy(path, paths))
