"""Commands of root run as the owner of the state directory, or as a user without any rights; see `give_up_root`."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import signal
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from edge_infer.cli.as_service import variables_of_unit
from edge_infer.errors import ConfigError, EdgeInferError, StartError
from edge_infer.platform.child_process import own_module
from edge_infer.platform.config_files import environment_for
from edge_infer.platform.environment import is_harmless
from edge_infer.platform.paths import may_exist
from edge_infer.sandbox import Fence, lock, privileges
from edge_infer.sandbox.change_user import drops_environment, give_up_root, give_up_root_for, give_up_root_for_state
from edge_infer.sandbox.identity import Identity, is_leftover
from edge_infer.sandbox.safe_path import follow

Prepare = Callable[[Identity], None]


def act_as_owner_of(
    args: argparse.Namespace, state_dir: Path | None, prepare: Prepare | None = None
) -> Identity | None:
    """Change the user of this process and of its children; return None, without a change, for any user but root.

    The process of another program, which calls `edge_infer.cli.main` with arguments, is not changed either. Use
    `act_on` for a command that reads files that a configuration names.

    The command's own code keeps the capability to read (``READ_SEARCH``), because models and the service's folder may
    be inside a folder that only root may enter. Every child that runs foreign code drops the capability, and `shut_in`
    drops it, too. ``prepare`` runs as root before the change. Call this before any thread starts. Raises `StartError`.
    """
    if not args.own_process:
        return None
    _only_write_to_terminal()
    return give_up_root(state_dir, prepare, keep=privileges.READ_SEARCH)


def start_afresh(args: argparse.Namespace, *configs: Path, writes: bool = False) -> None:
    """Start the command again without the environment of root, if other users may change a configuration.

    `act_on` drops the variables as well, but only from `os.environ`: the strings stay in the memory of the process,
    where code of a model would find them. Call this first in a command that runs a model itself, before it reads the
    standard input or prints anything. ``writes``: for a command that calls `act_on_state`. Raises `StartError`.
    """
    if not args.own_process or not drops_environment(*configs, writes=writes):
        return
    try:
        began_with = Path("/proc/self/environ").read_bytes().split(b"\0")  # `os.environ` may have changed since
        if all(is_harmless(os.fsdecode(each.partition(b"=")[0])) for each in began_with if each):
            return
        kept = {name: value for name, value in os.environ.items() if is_harmless(name)}
        if sys.flags.ignore_environment:  # the new Python gets no -E or -I
            kept = {name: value for name, value in kept.items() if not name.startswith("PYTHON")}
        os.execve(sys.executable, own_module("edge_infer", *sys.argv[1:]), kept)  # noqa: S606 - no shell
    except OSError as error:
        raise StartError(
            f"cannot start this command again without the environment of root: {error.strerror or error}; run it with "
            "env -i"
        ) from error


def act_on(args: argparse.Namespace, *configs: Path, prepare: Prepare | None = None, alone: int = 0) -> Identity | None:
    """Change the user as `act_as_owner_of` does, for a command that reads files that configurations name.

    The capability to read stays only if root alone can change the configurations; see `give_up_root_for`. Only this
    process, not its children, keeps the capabilities ``alone``. Variables that the unit sets are set here as well;
    `give_up_root_for` removes them if other users may change a configuration. No child inherits the variables that a
    configuration names, except the process that reads the configuration (`environment_for`). A missing file names no
    variables.
    """
    if not args.own_process:
        return None
    _only_write_to_terminal()
    found = [variables_of_unit(config) for config in configs]
    for variables in found:
        os.environ.update(variables)
    user = give_up_root_for(*configs, prepare=prepare, alone=alone)
    for config in configs:
        if may_exist(config):
            environment_for(config)
    return user


def _only_write_to_terminal() -> None:
    """Open standard output and error again if they are a terminal: for writing only, and with flags of their own.

    A shell's terminal is open for reading as well, and flags such as O_NONBLOCK would hold for the shell, too. Only the
    owner of the terminal can open it, so call this before the user changes.
    """
    for file in (1, 2):
        with suppress(OSError):
            if os.isatty(file):
                terminal = os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
                os.dup2(terminal, file)
                os.close(terminal)


def act_on_state(args: argparse.Namespace, config: Path, prepare: Prepare) -> Identity | None:
    """Change the user as `act_as_owner_of` does, for a command that writes to the state directory.

    See `give_up_root_for_state` for the user that the process becomes if other users may change the configuration.
    """
    return give_up_root_for_state(config, prepare, keep=privileges.READ_SEARCH) if args.own_process else None


def make_state_dir(state_dir: Path) -> Prepare:
    """Return a function that creates the folder for the user, or hands over a folder that root owns."""

    def prepare(user: Identity) -> None:
        from edge_infer.supervisor.take_over import hand_over

        hand_over(state_dir, user)

    return prepare


class CommandOutput:
    """A file or folder of pictures that a command writes, readable for its owner only; ``path`` None: no pictures.

    For a command of root, `prepare` leaves a process of root behind, which waits for `make`. The path is then created
    for the user that the command has become, but only once the configuration or model is known to be valid. After a
    process has entered its sandbox it cannot access a path that was missing before, so call `make` before `shut_in`.
    """

    def __init__(self, path: Path | None, *, folder: bool = False, option: str = "--annotate") -> None:
        self._path = None if path is None else path.absolute()
        self._folder = folder
        self._shown = f"{option} {path}"
        self._maker: socket.socket | None = None
        self._process = 0

    def prepare(self, user: Identity) -> None:
        """As root, check where the path leads, and start the process that creates the path."""
        if self._path is None:
            return
        above = next(each for each in self._path.parents if each.exists())
        parts = self._path.relative_to(above).parts
        place = follow(str(above), {0})  # stays open: no process can insert a link before the path is created
        self._maker, theirs = socket.socketpair()
        with theirs:
            self._process = os.fork()
            if self._process == 0:
                self._serve(theirs, user, lambda: _make_below(place, parts, user, folder=self._folder))
        os.close(place)

    def make(self, user: Identity | None) -> None:
        """Create the file or folder if it is missing, and check that ``user`` can write it; raises `ConfigError`.

        ``user`` is the user that root became.
        """
        if self._path is None:
            return
        os.umask(0o077)  # this also holds for files in a folder
        sys.dont_write_bytecode = True  # caches of the program are not for this user only
        if user is None or self._maker is None:
            error = "" if os.path.lexists(self._path) else self._created(self._create)
        else:
            with self._maker as maker, maker.makefile("rb") as answer:
                maker.sendall(b"\n")
                error = answer.read().decode()
            os.waitpid(self._process, 0)
        if error:
            raise ConfigError(error)
        if user is not None and not os.access(self._path, os.W_OK, effective_ids=True):
            raise ConfigError(
                f"{self._shown}: this command, started by root, runs as {user.name}, which cannot write there; name "
                f"another path, or make {user.name} its owner: chown {user.uid} {shlex.quote(str(self._path))}"
            )

    def _serve(self, requests: socket.socket, user: Identity, create: Callable[[], None]) -> NoReturn:
        """Create the path on request and answer with the error, if any; end when the command ends."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if self._maker is not None:
                self._maker.close()
            if requests.recv(1):
                requests.sendall(self._make_for(user, create).encode(errors="backslashreplace"))
        finally:
            os._exit(0)

    def _make_for(self, user: Identity, create: Callable[[], None]) -> str:
        """Create the path for the user, or hand over a path of an earlier run.

        Return the error text; empty on success.
        """
        assert self._path is not None
        if not os.path.lexists(self._path):
            return self._created(create)
        try:
            folder = follow(str(self._path.parent), {0})
        except (OSError, EdgeInferError) as error:
            return f"{self._shown}: {error}"
        try:
            owner = os.lstat(self._path.name, dir_fd=folder).st_uid
            if is_leftover(owner) and owner != os.fstat(folder).st_uid:  # a service has its own folder
                _give(self._path.name, folder, owner, user)
        except OSError as error:
            return f"{self._shown}: cannot be given to {user.name}: {error.strerror}"
        finally:
            os.close(folder)
        return ""

    def _create(self) -> None:
        assert self._path is not None
        if self._folder:
            self._path.mkdir(mode=0o700, parents=True)
        else:
            os.close(os.open(self._path, _NEW, 0o600))

    def _created(self, create: Callable[[], None]) -> str:
        """Create the path; return the error text, empty on success."""
        try:
            create()
        except OSError as error:
            what = "used as a folder" if self._folder else "created; name a file in an existing folder"
            return f"{self._shown}: cannot be {what}: {error.strerror or error}"
        return ""


_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _make_below(place: int, parts: Sequence[str], user: Identity, *, folder: bool) -> None:
    """Create a file for the user, or a folder with its parent folders, below an open folder; follow no link."""
    for part in parts if folder else ():
        os.mkdir(part, 0o755, dir_fd=place)
        place = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    if not folder:
        if len(parts) > 1:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        place = os.open(parts[0], _NEW, 0o600, dir_fd=place)
    os.fchmod(place, 0o700 if folder else 0o600)
    os.fchown(place, user.uid, user.gid)


def _give(name: str, above: int, owner: int, user: Identity) -> None:
    """Give a regular file of ``owner``, or a folder and the regular files in it, to the user.

    No link is followed. A file with a second hard link is skipped, because it may be a file of a service.
    """
    file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        found = os.fstat(file)
        folder = stat.S_ISDIR(found.st_mode)
        if found.st_uid != owner or not (folder or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)):
            return
        place = f"/proc/self/fd/{file}"
        for each in os.scandir(place) if folder else ():
            if each.is_file(follow_symlinks=False):
                _give(each.name, file, owner, user)
        os.chown(place, user.uid, user.gid)
    finally:
        os.close(file)


def shut_in(args: argparse.Namespace, user: Identity | None, fence: Fence) -> None:
    """Lock a command that runs a model itself in the sandbox of the engine; skip the process of another program.

    Call this before an import that starts threads. The paths in ``fence`` are opened with the rights of the user who
    started the command. A link of another user, except root, is followed only to a file of that user. ``user`` is the
    user that root became. No model may read what is typed into the terminal; pipes and files stay standard input. Files
    that the caller left open are closed.
    """
    if not args.own_process:
        return
    _close_inherited((*fence.files, *fence.reads, *fence.writes))
    if os.isatty(0):
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - the rules would not hold for the other threads
        raise EdgeInferError("this command runs a model, and a library started threads before it could lock itself")
    if user is not None:
        lock("engine", fence=fence, keep=privileges.READ_SEARCH, owners={0})
    else:
        lock("engine", fence=fence, owners={0, os.geteuid()})


def _close_inherited(named: Sequence[str]) -> None:
    """Close the files and sockets that the caller left open, for example a shell, except ``named`` files (`/dev/fd/9`).

    Python sets a flag (``FD_CLOEXEC``) on each file that it opens itself. Inherited files never have this flag, because
    the kernel closes files that have it when a program starts.
    """
    for file in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # the list itself was open
            if file > 2 and os.get_inheritable(file) and not _is_named(file, named):
                os.close(file)


def _is_named(file: int, named: Sequence[str]) -> bool:
    """Return whether one of these paths leads to an open file."""
    status = os.fstat(file)
    for path in named:
        with suppress(OSError, ValueError):
            if os.path.samestat(status, os.stat(path)):  # noqa: PTH116 - the paths may be thousands
                return True
    return False
