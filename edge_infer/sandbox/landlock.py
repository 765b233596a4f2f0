"""Landlock: permanent restriction of a process's own access to files, TCP ports and signals (landlock(7)).

A restriction holds for the calling thread and its later children, so it must be set before any other thread starts.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
from collections.abc import Collection
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel, system_paths
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.safe_path import ForeignLinkError, follow

_log = logging.getLogger(__name__)
_VERSION: Final = 1
_BENEATH, _PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 9
_MAKE_FIFO, _MAKE_SYM, _REFER, _TRUNCATE, _IOCTL = 1 << 10, 1 << 12, 1 << 13, 1 << 14, 1 << 15
_ALL_1: Final = (1 << 13) - 1
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE: Final = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
    | _REFER | _TRUNCATE | _IOCTL
)  # fmt: skip
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_BIND, _CONNECT = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2


def version() -> int:
    """Return the version of the Landlock ABI; raises `OSError` if the kernel has no Landlock."""
    return _call("landlock_create_ruleset", 0, 0, _VERSION)


def make_rules(fence: Fence, *, abstract: bool, owners: Collection[int] | None = None) -> int:
    """Return the rules for ``fence`` as a descriptor for `enclose`; raises `OSError` if the kernel has no Landlock.

    The rules hold for the files to which the paths lead now. With ``owners``, a path that contains another user's link
    gets no rule (see `follow`). Call this before the process enters a user namespace, where the owner of a link is
    unknown. Without ``abstract``, abstract Unix sockets of other processes cannot be reached. From Linux 6.12 on,
    signals reach only the processes that this process has started.
    """
    abi = version()
    handled = _files_of(abi)
    ports = _BIND | _CONNECT if abi >= 4 and fence.ports is not None else 0
    scoped = (_SIGNALS | (0 if abstract else _ABSTRACT_SOCKETS)) if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, ports, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    buffer = create_string_buffer(attributes, len(attributes))
    rules = _call("landlock_create_ruleset", addressof(buffer), len(attributes), 0)
    try:
        for path in ("/",) if fence.anywhere else system_paths.program(others=fence.unix in ("sound", "programs")):
            _allow(rules, path, _READ & handled)
        _allow(rules, system_paths.BIN, _WRITE & handled)
        for path in () if fence.anywhere else fence.reads:
            _allow(rules, path, _READ & handled, owners)
        for path in () if fence.anywhere else fence.files:
            _allow(rules, path, _READ & handled, owners, folder=False)
        for path in fence.writes:
            _allow(rules, path, _WRITE & handled, owners)
        if ports and fence.ports is not None:  # port 0: any free port; some libraries bind before they connect
            for port, right in ((0, _BIND), *((port, _CONNECT) for port in fence.ports)):
                rule = create_string_buffer(struct.pack("=QQ", right, port), 16)
                _call("landlock_add_rule", rules, _PORT, addressof(rule), 0)
    except BaseException:
        os.close(rules)
        raise
    return rules


def enclose(rules: int, *, thread: bool = False) -> None:
    """Enforce the rules of `make_rules` on this process; raises `OSError` if other threads would not be covered.

    With ``thread`` they apply only to the calling thread and its children. ``PR_SET_NO_NEW_PRIVS`` must be set.
    """
    if not thread and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise OSError(errno.EBUSY, "threads were running before it")
    _call("landlock_restrict_self", rules, 0)


def _files_of(abi: int) -> int:
    """Return the file rights that this version of the interface supports."""
    newer = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL))
    return _ALL_1 | sum(right for since, right in newer if abi >= since)


def _allow(rules: int, path: str, rights: int, owners: Collection[int] | None = None, *, folder: bool = True) -> None:
    """Add one rule. A missing or inaccessible path is skipped, because it cannot be opened later either."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        try:
            file = os.open(path, os.O_PATH | os.O_CLOEXEC) if owners is None else follow(path, owners, to_own=True)
        except ForeignLinkError as error:
            _log.warning("%s", error)
            return
        try:
            kind = os.fstat(file).st_mode
            if stat.S_ISDIR(kind) and not folder:
                return
            if not stat.S_ISDIR(kind):
                rights &= _OF_A_FILE
            rule = create_string_buffer(struct.pack("=Qi", rights, file), 12)
            _call("landlock_add_rule", rules, _BENEATH, addressof(rule), 0)
        except OSError as error:
            if error.errno != errno.EBADFD:  # for example an unnamed pipe: it needs no rule, because it is in no folder
                raise
        finally:
            os.close(file)


def _call(name: str, *arguments: int) -> int:
    machine = kernel.machine()
    if machine is None:
        raise OSError(errno.ENOSYS, "there is no table of system calls for this processor")
    return kernel.call(machine.numbers[name], *arguments)
