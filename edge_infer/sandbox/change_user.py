"""Change of user for commands that root starts, so that no code of a model, source or plug-in runs as root."""

from __future__ import annotations

import logging
import os
import resource
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.platform.environment import is_harmless
from edge_infer.platform.paths import default_state_dir, hinted
from edge_infer.sandbox import landlock, privileges
from edge_infer.sandbox.foreign import foreign_part, is_foreign, is_shared, shared_part
from edge_infer.sandbox.identity import Identity, chosen_identity, is_mapped

log = logging.getLogger(__name__)

ONLY_ROOT: Final = "there is no other user in this container, so edge-infer runs as its uid 0 without capabilities"
_REMEDY: Final = (
    "install it where every user may read it (deploy/install puts it below /opt), or start it as the user who owns it"
)


def give_up_root(
    state_dir: Path | None,
    prepare: Callable[[Identity], None] | None = None,
    *,
    keep: int = 0,
    alone: int = 0,
    devices: bool = True,
) -> Identity | None:
    """Become the owner of ``state_dir`` or the user of `chosen_identity`; return None if the user does not change.

    ``prepare`` runs as root before the change and gets the new user. ``keep`` are capabilities that this process keeps;
    its children must drop them. ``alone`` are capabilities that only this process keeps. Without ``devices``, the
    process joins no device groups. Call this before any thread starts. Raises `StartError`.
    """
    try:
        identity = chosen_identity(state_dir)
        if identity is None:
            return None
        identity = identity if devices else replace(identity, groups=())
        os.environ.setdefault("STATE_DIRECTORY", str(default_state_dir()))  # the default depends on the user
        if not is_mapped(identity):
            _stay(ONLY_ROOT)
            return None
        if prepare is not None:
            prepare(identity)
        privileges.forbid_core_dumps()  # a process that is not dumpable can no longer set this
        with suppress(ValueError, OSError):  # so that its children can keep frames out of swap
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        privileges.become(identity, keep, alone)
    except PermissionError as error:
        _stay(f"root cannot become another user here ({error.strerror}), so it runs without capabilities")
        return None
    except StartError:
        raise
    except OSError as error:
        raise StartError(f"root cannot become another user: {error.strerror or error}") from error
    if not keep & privileges.READ_SEARCH and privileges.capabilities() & privileges.READ_SEARCH:
        _check_fences(identity)
    privileges.forbid_new_privileges()
    # A command may enter its sandbox later and test it. Until then the capability protects the command from other
    # processes of its user. Without the capability, the command stays protected by not being dumpable, like the daemon.
    if keep & privileges.capabilities():
        privileges.allow_dumping()
    return identity


def give_up_root_for(
    *configs: Path, prepare: Callable[[Identity], None] | None = None, alone: int = 0
) -> Identity | None:
    """Become the user of the ``configs`` of a command that root started, like `give_up_root`.

    If only root can change the configurations, the user is the owner of the first configuration's state directory, and
    the capability to read stays, because root itself has named every file. A configuration of another user could name a
    file of root and a server that receives its content. For such a configuration the command becomes that user and
    reads only what that user may read. It also drops root's environment variables. Otherwise the configuration could
    refer to them by name, and that user could read them from child processes that are not yet in their sandbox.
    """
    config = configs[0].absolute()
    if os.geteuid() != 0:
        return None
    if not drops_environment(*configs):
        return give_up_root(hinted(config), prepare, keep=privileges.READ_SEARCH, alone=alone)
    found = foreign_part(config)
    shared = shared_part(config) if found is None else None
    if found is None and not _names_anybody(config):
        found = hinted(config)
    user = _become_changer(config, found, prepare, alone)
    if user is not None and shared is not None:
        part, changers = shared
        log.warning(
            "%s may be changed by %s, so this command runs as %s instead of root; if that is a mistake, run: "
            "sudo chmod go-w %s",
            part, changers, user.name, shlex.quote(str(part)),
        )  # fmt: skip
    return user


def drops_environment(*configs: Path, writes: bool = False) -> bool:
    """Return whether root drops its environment for these configurations, because other users may change one.

    This holds for `give_up_root_for`, or with ``writes`` for `give_up_root_for_state`.
    """
    if os.geteuid() != 0:
        return False
    return foreign_part(configs[0].absolute()) is not None or (not writes and any(map(is_foreign, configs)))


def give_up_root_for_state(config: Path, hand_over: Callable[[Identity], None], *, keep: int = 0) -> Identity | None:
    """Become the user for a command that writes to the state directory of a configuration, like `give_up_root`.

    If only root can change the file, the user is the owner of the state directory, and ``hand_over`` runs as root
    before the change. Another user could name the folder of a third user in the file, or have root create a folder
    anywhere. So for a file of another user the command becomes that user, and refuses a folder of any other user.
    Raises `StartError`.
    """
    if os.geteuid() != 0:
        return None
    config, state_dir = config.absolute(), hinted(config).absolute()
    if (found := foreign_part(config)) is not None:
        _refuse_state_of_others(config, state_dir, found.lstat().st_uid)
        return _become_changer(config, found)
    if _names_anybody(config):
        raise StartError(
            f"other users than root may change {config}, which names the state directory {state_dir}; "
            f"run: sudo chmod go-w {shlex.quote(str(config))}, or start this as the owner of that folder"
        )
    return give_up_root(state_dir, hand_over, keep=keep)


def become_changer(config: Path) -> Identity | None:
    """Become the other user who can change a configuration; return None without such a user, or if not root."""
    found = foreign_part(config) if os.geteuid() == 0 else None
    return None if found is None else _become_changer(config.absolute(), found)


def _names_anybody(config: Path) -> bool:
    """Return whether users other than the file's owner may have chosen the state directory in it."""
    return is_shared(config) and hinted(config).absolute() != default_state_dir().absolute()


def _refuse_state_of_others(config: Path, state_dir: Path, changer: int) -> None:
    try:
        owner = state_dir.stat().st_uid
    except OSError:  # as that user, the command creates the folder or reports why it cannot
        return
    if owner != changer:
        user, other = Identity(changer, changer).name, "root" if owner == 0 else Identity(owner, owner).name
        # Do not advise to give the folder away: the file's owner may have named a folder of the system.
        raise StartError(
            f"{config} belongs to {user}, but the state directory {state_dir} belongs to {other}: set a folder of "
            f"{user} as device.state_dir; "
            f"if it is the service's configuration, give it to root: chown root {shlex.quote(str(config))}"
        )


def _become_changer(
    config: Path, owned: Path | None, prepare: Callable[[Identity], None] | None = None, alone: int = 0
) -> Identity | None:
    """Become the owner of ``owned``, or a user without an account, and drop the environment of root."""
    for name in [name for name in os.environ if not is_harmless(name)]:
        del os.environ[name]
    user = give_up_root(owned, prepare, alone=alone)
    if user is not None and privileges.capabilities() & privileges.READ_SEARCH:
        raise StartError(
            f"other users than root may change {config}, so this command works as {user.name}, who cannot read the "
            f"program; {_REMEDY}"
        )
    if user is not None and owned == config:
        log.warning(
            "%s belongs to %s, so this command runs as %s instead of root; "
            "if it is the service's configuration, give it to root: chown root %s",
            config, user.name, user.name, shlex.quote(str(config)),
        )  # fmt: skip
    return user


def _stay(why: str) -> None:
    log.warning("%s", why)
    privileges.drop_all_capabilities()
    privileges.forbid_new_privileges()


def _check_fences(identity: Identity) -> None:
    """Raise `StartError` without Landlock.

    The children keep the capability to read this program, so Landlock must limit them.
    """
    try:
        landlock.version()
    except OSError as error:
        raise StartError(
            f"{identity.name} cannot read the program, which is in a folder that only root may enter, and this "
            f"kernel has no Landlock to limit reading as root ({error.strerror}); {_REMEDY}"
        ) from error
