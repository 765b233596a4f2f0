"""Messages about files that this user cannot read, with the command that permits it."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path


def user() -> str:
    """Return the user that this process runs as."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    return f"user {os.geteuid()}"


def closed_folder(path: str | Path) -> Path | None:
    """Return the folder on the way to a file that this user may not enter; None if there is none."""
    folders = reversed(Path(path).parents)
    return next((folder for folder in folders if not os.access(folder, os.X_OK, effective_ids=True)), None)


def denied(path: str | Path, shown: str = "FILE") -> str:
    """Return why a file cannot be opened, as the end of a sentence; ``shown`` replaces a secret path in the command."""
    closed = closed_folder(path)
    if closed is not None:
        where = f"the folder {closed}" if shown == str(path) else "a folder that it lies in"
        return f"cannot be read by {user()}, who may not enter {where}; keep it elsewhere, such as in /etc/edge-infer"
    group = str(os.getegid())
    with suppress(KeyError):
        group = grp.getgrgid(os.getegid()).gr_name
    return f"cannot be read by {user()}; let its group read it: chgrp {group} {shown} && chmod 640 {shown}"
