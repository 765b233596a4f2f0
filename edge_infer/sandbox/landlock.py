"""Landlock: files, TCP ports and signals that a process shuts itself out from, for ever (landlock(7)).

It holds for the calling thread and what this one starts, so it comes before any other thread.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Final

from edge_infer.sandbox import kernel, places
from edge_infer.sandbox.fence import Fence

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
    """The version of the interface; raises `OSError` where the kernel has none."""
    return _call("landlock_create_ruleset", 0, 0, _VERSION)


def enclose(fence: Fence, *, abstract: bool, thread: bool = False) -> None:
    """Shuts this process in; raises `OSError` when the kernel will not, or other threads would stay outside.

    With ``thread`` they shall: it holds for the calling thread and what this one starts.

    ``PR_SET_NO_NEW_PRIVS`` has to be set. Without ``abstract`` it reaches no abstract Unix socket of others; signals
    reach only what it has started itself, where the kernel knows such rules (6.12).
    """
    abi = version()
    if not thread and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise OSError(errno.EBUSY, "threads were running before it")
    handled = _files_of(abi)
    ports = _BIND | _CONNECT if abi >= 4 and fence.ports is not None else 0
    scoped = (_SIGNALS | (0 if abstract else _ABSTRACT_SOCKETS)) if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, ports, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    buffer = create_string_buffer(attributes, len(attributes))
    rules = _call("landlock_create_ruleset", addressof(buffer), len(attributes), 0)
    try:
        for path in ("/",) if fence.anywhere else (*places.program(), *fence.reads):
            _allow(rules, path, _READ & handled)
        for path in (places.BIN, *fence.writes):
            _allow(rules, path, _WRITE & handled)
        if ports and fence.ports is not None:  # port 0: whichever is free, as some libraries bind before they connect
            for port, right in ((0, _BIND), *((port, _CONNECT) for port in fence.ports)):
                rule = create_string_buffer(struct.pack("=QQ", right, port), 16)
                _call("landlock_add_rule", rules, _PORT, addressof(rule), 0)
        _call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)


def _files_of(abi: int) -> int:
    """The rights over files that this version of the interface knows."""
    newer = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL))
    return _ALL_1 | sum(right for since, right in newer if abi >= since)


def _allow(rules: int, path: str, rights: int) -> None:
    """One rule; what is not there, or not to be entered, cannot be opened later either."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not Path(f"/proc/self/fd/{file}").is_dir():
                rights &= _OF_A_FILE
            rule = create_string_buffer(struct.pack("=Qi", rights, file), 12)
            _call("landlock_add_rule", rules, _BENEATH, addressof(rule), 0)
        finally:
            os.close(file)


def _call(name: str, *arguments: int) -> int:
    machine = kernel.machine()
    if machine is None:
        raise OSError(errno.ENOSYS, "there is no table of system calls for this processor")
    return kernel.call(machine.numbers[name], *arguments)
