"""Who cannot read a file, and the command that lets them."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path


def user() -> str:
    """The user that this process works as."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    return f"user {os.geteuid()}"


def closed_folder(path: str | Path) -> Path | None:
    """The folder on the way to a file that this user may not enter; None where there is none."""
    folders = reversed(Path(path).parents)
    return next((folder for folder in folders if not os.access(folder, os.X_OK, effective_ids=True)), None)


def denied(path: str | Path, shown: str = "FILE") -> str:
    """Why a file may not be opened, as the end of a sentence; ``shown`` stands in the command for what is not told."""
    closed = closed_folder(path)
    if closed is not None:
        where = f"the folder {closed}" if shown == str(path) else "a folder that it lies in"
        return f"cannot be read by {user()}, who may not enter {where}; keep it elsewhere, such as in /etc/edge-infer"
    group = str(os.getegid())
    with suppress(KeyError):
        group = grp.getgrgid(os.getegid()).gr_name
    return f"cannot be read by {user()}; let its group read it: chgrp {group} {shown} && chmod 640 {shown}"
