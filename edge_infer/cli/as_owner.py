"""Commands of root run as the owner of the state directory, or as a user without any rights: see `give_up_root`."""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.sandbox import Fence, lock, privileges
from edge_infer.sandbox.change_user import give_up_root
from edge_infer.sandbox.identity import Identity
from edge_infer.sandbox.safe_path import MAX_LINKS, follow

Prepare = Callable[[Identity], None]


def act_as_owner_of(
    args: argparse.Namespace, state_dir: Path | None, prepare: Prepare | None = None, alone: int = 0
) -> Identity | None:
    """Change the user of this process and of its children; return None, without a change, for any user but root.

    The process of another program is not changed either (see `edge_infer.cli.main`).

    The command's own code keeps the capability to read (``READ_SEARCH``), because models and the service's folder may
    lie behind a folder that only root may enter. Every child that runs foreign code drops it, and so does `shut_in`.
    ``prepare`` runs as root before the change; only this process keeps the capabilities ``alone``. Call this before any
    thread starts. Raises `StartError`.
    """
    if not args.own_process:
        return None
    return give_up_root(state_dir, prepare, keep=privileges.READ_SEARCH, alone=alone)


def make_state_dir(state_dir: Path) -> Prepare:
    """Return a step that creates the folder for the user, or hands over a folder that root owns."""

    def prepare(user: Identity) -> None:
        from edge_infer.supervisor.take_over import hand_over

        hand_over(state_dir, user)

    return prepare


def make_output(path: Path | None, *, folder: bool = False, option: str = "--annotate") -> Prepare:
    """Return a step in which root creates the file or folder to be written and gives it to the user."""

    def prepare(user: Identity) -> None:
        if path is None:
            return
        above = next(each for each in path.absolute().parents if each.exists())
        os.close(follow(str(above), {0}))
        if _made(path, option, folder=folder):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)

    return prepare


def _made(path: Path, option: str, *, folder: bool) -> bool:
    """Create a file or folder to be written; return False if it exists, and then leave it as it is."""
    if os.path.lexists(path):
        return False
    try:
        if folder:
            path.mkdir(parents=True)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except OSError as error:
        what = "cannot be used as a folder" if folder else "cannot be made, name a file in a folder that is there"
        raise ConfigError(f"{option} {path}: {what}: {error.strerror or error}") from error
    return True


def check_output(path: Path | None, user: Identity | None, *, folder: bool = False, option: str = "--annotate") -> None:
    """Create a missing file or folder: a path that is missing when a process locks itself stays out of reach.

    Raises `ConfigError` if it cannot be created, or if the user that root became cannot write it.
    """
    if path is None or _made(path, option, folder=folder) or user is None:
        return
    if not os.access(path, os.W_OK, effective_ids=True):
        raise ConfigError(
            f"{option} {path}: cannot be written by {user.name}, whom this command of root works as; name another "
            f"place, or give it away: chown {user.uid} {path}"
        )


def shut_in(args: argparse.Namespace, user: Identity | None, fence: Fence) -> None:
    """Lock a command that runs a model itself, as the engine is locked; the process of another program is not locked.

    Call this before an import that starts threads. The paths in ``fence`` are opened with the rights of the user who
    started the command, and no link of another user is followed. ``user`` is the user that root became.
    """
    if not args.own_process:
        return
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - the rules would not hold for the other threads
        raise EdgeInferError("this command runs a model, and a library started threads before it could lock itself")
    if user is not None:
        lock("engine", fence=fence, keep=privileges.READ_SEARCH, owners={0})
    else:
        lock("engine", fence=fence, owners={0, os.geteuid()})


def act_as_who_may_change(args: argparse.Namespace, path: Path) -> None:
    """As root, become the user who can exchange a part of a path: that user chooses what is written and read there.

    Nothing changes for other users, or if only root can. Raises `ConfigError` if it is not clear who can.
    """
    if not args.own_process or os.geteuid() != 0 or (found := _changer(path)) is None:
        return
    try:
        account = pwd.getpwuid(found.st_uid)
        os.initgroups(account.pw_name, account.pw_gid)
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.environ |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    except KeyError:
        os.setgroups([])
        os.setresgid(found.st_gid, found.st_gid, found.st_gid)
    os.setresuid(found.st_uid, found.st_uid, found.st_uid)


def _changer(path: Path) -> os.stat_result | None:
    """Return the status of the first part of a path, links included, that is not root's; None if there is none."""
    waiting, links = [path.absolute()], 0
    while waiting:
        whole = waiting.pop()
        for part in (*reversed(whole.parents), whole):
            try:
                found = part.lstat()
            except FileNotFoundError:
                break
            if found.st_uid != 0:
                return found
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise ConfigError(f"{path}: too many links")
                waiting.append(part.parent / part.readlink() / whole.relative_to(part))
                break
            everybody = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid)
            if stat.S_ISDIR(found.st_mode) and everybody and not found.st_mode & stat.S_ISVTX:
                raise ConfigError(
                    f"other users than root may change the folder {part}, so root does not edit below it; "
                    f"run: sudo chmod go-w {shlex.quote(str(part))}"
                )
    return None
