"""The user that a process of root becomes, because no code of a model, source or plug-in may run as root."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.sandbox.safe_path import ForeignLinkError, follow

ACCOUNT: Final = "edge-infer"
"""The account to use if it exists; also the group that may connect to the daemon."""
DYNAMIC: Final = range(61184, 65520)
"""The range of users that systemd allocates for running services (``DynamicUser=yes``)."""
DEVICE_GROUPS: Final = ("video", "render", "plugdev", "audio", "dialout")
"""The groups that may open cameras, GPUs, accelerators, microphones and serial ports; `deploy/install` reads this."""
_NO_GROUP: Final = 65534
_RESERVED: Final = "/run/systemd/dynamic-uid"
"""systemd does not assign a number with a locked file in this folder."""
_PRIVATE: Final = ("/var/lib/private", "/var/cache/private", "/var/log/private")
"""Folders of services that may get the same user number again at their next start."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, its group, and the further groups that its devices need."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of the account, or ``user NUMBER``."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"

    @property
    def group(self) -> str:
        """The name of the group, or its number."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)


def chosen_identity(folder: Path | None) -> Identity | None:
    """Return the owner of ``folder`` unless that is root, otherwise the account `ACCOUNT`, otherwise an unused user.

    Return None if this process is not root. A chosen unused number stays reserved while this process runs. Raises
    `ForeignLinkError` if another user could choose the folder, and thereby the user that root becomes.
    """
    if os.geteuid() != 0:
        return None
    found = _look(folder) if folder is not None else None
    if found is not None and found.st_uid != 0:
        return Identity(found.st_uid, _group_of(found), _device_groups(found.st_uid))
    with suppress(KeyError):
        account = pwd.getpwnam(ACCOUNT)
        if account.pw_uid != 0:
            return Identity(account.pw_uid, account.pw_gid or account.pw_uid, _device_groups(account.pw_uid))
    if folder is None:  # for a single model, which needs nothing of the service; the daemon never gets such a number
        uid = _unused(DYNAMIC[::-1])
        return Identity(uid, uid, _device_groups(uid))
    uid = _unused(DYNAMIC)
    try:
        return Identity(uid, grp.getgrnam(ACCOUNT).gr_gid or uid, _device_groups(uid))
    except KeyError:
        return Identity(uid, uid, _device_groups(uid))


def _look(folder: Path) -> os.stat_result | None:
    """Return the status of the folder, following only root's links; None if it does not exist."""
    try:
        file = follow(str(folder.absolute()), {0})
    except ForeignLinkError:
        raise
    except OSError:
        return None
    try:
        return os.fstat(file)
    finally:
        os.close(file)


def is_mapped(identity: Identity, root: Path = Path("/")) -> bool:
    """Return whether this user namespace maps the user and the group: a rootless container may map only uid 0."""
    pairs = (("uid_map", identity.uid), ("gid_map", identity.gid))
    return all(_maps(root / "proc/self" / name, number) for name, number in pairs)


def _maps(path: Path, number: int) -> bool:
    try:
        rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
    except OSError:  # a kernel without user namespaces maps all numbers
        return True
    return any(first <= number < first + count for first, _, count in rows)


def _group_of(folder: os.stat_result) -> int:
    """Return a group for the owner of a folder, but never a privileged group such as ``shadow`` or ``docker``.

    It is the primary group of the owner's account. Without an account, it is the group of the folder, or the group with
    the owner's number, if that is the service's group or has no name; otherwise the group 65534.
    """
    with suppress(KeyError):
        return pwd.getpwuid(folder.st_uid).pw_gid or folder.st_uid
    return next((number for number in (folder.st_gid, folder.st_uid) if _is_harmless(number)), _NO_GROUP)


def _is_harmless(number: int) -> bool:
    try:
        return grp.getgrgid(number).gr_name == ACCOUNT
    except KeyError:  # there is no group with this number
        return True


def _device_groups(uid: int) -> tuple[int, ...]:
    """Return the device groups of this system and, only for the service's own account, its supplementary groups.

    Other accounts lose their supplementary groups, because membership of ``docker`` or ``disk`` is equivalent to root.
    """
    found = []
    for name in DEVICE_GROUPS:
        with suppress(KeyError):
            found.append(grp.getgrnam(name).gr_gid)
    with suppress(KeyError):
        account = pwd.getpwuid(uid)
        if account.pw_name == ACCOUNT:
            found += os.getgrouplist(ACCOUNT, account.pw_gid)
    return tuple(dict.fromkeys(gid for gid in found if gid != 0))


def _unused(numbers: range) -> int:
    """Reserve and return the first number that has no account, no process and no service folder."""
    taken = set(_in_use())
    for uid in numbers:
        if uid not in taken and not _has_account(uid) and _reserved(uid):
            return uid
    raise OSError("all user ids from 61184 to 65519 are in use")


def is_leftover(uid: int) -> bool:
    """Return whether an earlier command of root may have chosen this user: a number in `DYNAMIC` without an account."""
    return uid in DYNAMIC and not _has_account(uid)


def _has_account(number: int) -> bool:
    for look in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look(number)
            return True
    return False


def _in_use() -> Iterator[int]:
    """Yield the users and groups of running processes, and the owners of service folders."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                for line in (path / "status").read_text().splitlines():
                    if line.startswith(("Uid:", "Gid:", "Groups:")):
                        yield from map(int, line.split()[1:])
    for folder in map(Path, _PRIVATE):
        with suppress(OSError):
            for path in folder.iterdir():
                yield path.lstat().st_uid


def _reserved(uid: int) -> bool:
    """Lock the number against systemd and other edge-infer processes while this process runs.

    Return False if another process holds the lock.
    """
    try:
        Path(_RESERVED).mkdir(mode=0o755, parents=True, exist_ok=True)
        # Read-only, because code of a model that runs in this process later could write through the descriptor.
        file = os.open(f"{_RESERVED}/{uid}", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:  # a read-only /run: no other process can lock there either
        return True
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    return True  # the file stays open: the lock ends with the process
