"""A command of root works as the user whose state directory it is, or as one that has nothing: see `give_up_root`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from edge_infer.errors import ConfigError
from edge_infer.sandbox import Fence, lock, privileges
from edge_infer.sandbox.identity import Identity
from edge_infer.sandbox.root import give_up_root
from edge_infer.sandbox.way import follow

Prepare = Callable[[Identity], None]


def act_as_owner_of(
    args: argparse.Namespace, state_dir: Path | None, prepare: Prepare | None = None, alone: int = 0
) -> Identity | None:
    """For the rest of this process and all that it starts; None and no change for another user than root.

    Nor is there one where the process is another program's (see `edge_infer.cli.main`).

    The command's own code keeps the power to read, because models and the service's folder may lie behind one that only
    root may enter; every child that runs what is not ours drops it, and so does `shut_in`. ``prepare`` is what root
    does before, ``alone`` what only this process keeps. Before any thread. Raises `StartError`.
    """
    if not args.own_process:
        return None
    return give_up_root(state_dir, prepare, keep=privileges.READ_SEARCH, alone=alone)


def make_state_dir(state_dir: Path) -> Prepare:
    """Makes the folder for the user, or hands it over where it is root's."""

    def prepare(user: Identity) -> None:
        from edge_infer.supervisor.handover import hand_over

        hand_over(state_dir, user)

    return prepare


def make_output(path: Path | None, *, folder: bool = False) -> Prepare:
    """What root does for the user: it makes the file or folder that is to be written, and gives it away."""

    def prepare(user: Identity) -> None:
        if path is None:
            return
        above = next(each for each in path.absolute().parents if each.exists())
        os.close(follow(str(above), {0}))
        if _made(path, folder=folder):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)

    return prepare


def _made(path: Path, *, folder: bool) -> bool:
    """Makes a file or folder that is to be written; False for one that is there, which stays as it is."""
    if os.path.lexists(path):
        return False
    try:
        if folder:
            path.mkdir(parents=True)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except OSError as error:
        what = "cannot be used as a folder" if folder else "cannot be made, name a file in a folder that is there"
        raise ConfigError(f"--annotate {path}: {what}: {error.strerror or error}") from error
    return True


def check_output(path: Path | None, user: Identity | None, *, folder: bool = False) -> None:
    """Makes the file or folder where it is missing: what is not there when a process locks itself stays out of reach.

    Raises `ConfigError` for one that cannot be made, or that the user whom root has become cannot write.
    """
    if path is None or _made(path, folder=folder) or user is None:
        return
    if not os.access(path, os.W_OK, effective_ids=True):
        raise ConfigError(
            f"--annotate {path}: cannot be written by {user.name}, whom this command of root works as; name another "
            f"place, or give it away: chown {user.uid} {path}"
        )


def shut_in(args: argparse.Namespace, user: Identity | None, fence: Fence) -> None:
    """Locks a command that runs a model itself, as the engine is locked; not a process of another program.

    Before anything is imported that starts threads. What ``fence`` names is read with the rights of whoever started the
    command, by no link of somebody else. ``user`` is whom root has become.
    """
    if not args.own_process:
        return
    if user is not None:
        lock("engine", fence=fence, keep=privileges.READ_SEARCH, owners={0})
    else:
        lock("engine", fence=fence, owners={0, os.geteuid()})
