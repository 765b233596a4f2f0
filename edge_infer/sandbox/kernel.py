"""The kernel's own calls, by name, through ctypes. The numbers are those of ``asm/unistd*.h`` of Linux 6.12."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Machine:
    """How one kind of processor numbers its system calls; ``audit`` is the kernel's ``AUDIT_ARCH_*``."""

    audit: int
    numbers: Mapping[str, int]
    x32_bit: int = 0
    """Calls with this bit are those of a second, 32-bit interface under the same ``audit``; 0: there is none."""


# fmt: off
_SINCE_5_1: Final = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "pidfd_getfd": 438,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}
"""Newer calls have one number everywhere."""
_X86_64: Final = Machine(0xC000003E, {
    "ioctl": 16, "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "socketpair": 53, "ptrace": 101,
    "unshare": 272, "accept4": 288, "process_vm_readv": 310, "process_vm_writev": 311, "seccomp": 317, **_SINCE_5_1,
}, x32_bit=0x40000000)
_AARCH64: Final = Machine(0xC00000B7, {
    "ioctl": 29, "unshare": 97, "ptrace": 117, "socket": 198, "socketpair": 199, "bind": 200, "listen": 201,
    "accept": 202, "connect": 203, "accept4": 242, "process_vm_readv": 270, "process_vm_writev": 271, "seccomp": 277,
    **_SINCE_5_1,
})
_ARM: Final = Machine(0x40000028, {
    "ptrace": 26, "ioctl": 54, "socket": 281, "bind": 282, "connect": 283, "listen": 284, "accept": 285,
    "socketpair": 288, "unshare": 337, "accept4": 366, "process_vm_readv": 376, "process_vm_writev": 377,
    "seccomp": 383, **_SINCE_5_1,
})
# fmt: on


def machine() -> Machine | None:
    """The interface that this process speaks; None for a processor that no table is kept for.

    A 32-bit system on a 64-bit kernel reports the kernel's processor, so the size of a pointer decides.
    """
    name, bits = os.uname().machine, 8 * struct.calcsize("P")
    if name == "x86_64" and bits == 64:
        return _X86_64
    if name == "aarch64" and bits == 64:
        return _AARCH64
    if (name == "aarch64" or name.startswith("arm")) and bits == 32:
        return _ARM
    return None


def call(number: int, *arguments: int) -> int:
    """Makes the system call; raises `OSError`."""
    result: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    return _checked(result)


def mlockall(flags: int) -> None:
    """Makes the ``mlockall`` call; raises `OSError`."""
    _checked(_libc.mlockall(ctypes.c_int(flags)))


def prctl(option: int, value: int = 0, more: int = 0) -> int:
    """Makes the ``prctl`` call with the unused arguments zero; raises `OSError`."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(more), zero, zero))


def capset(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Sets the capabilities of the calling thread; raises `OSError`."""
    _checked(_libc.capset(ctypes.byref(header), data))


def capget(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Reads the capabilities of the calling thread into ``data``; raises `OSError`."""
    _checked(_libc.capget(ctypes.byref(header), data))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
