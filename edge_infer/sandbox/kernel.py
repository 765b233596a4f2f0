"""System calls by name, through ctypes."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge_infer.sandbox.syscall_numbers import numbers

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Machine:
    """The system call numbers of one kind of processor; ``audit`` is the kernel's ``AUDIT_ARCH_*``."""

    processor: str
    audit: int
    numbers: Mapping[str, int]
    x32_bit: int = 0
    """Calls with this bit belong to a second, 32-bit interface under the same ``audit``; 0: there is none."""


_MACHINES: Final = {"x86-64": (0xC000003E, 0x40000000), "arm64": (0xC00000B7, 0), "armv7": (0x40000028, 0)}
"""The values of `Machine.audit` and `Machine.x32_bit`."""
_OPENAT2: Final = 437
"""Calls newer than Linux 5.1 have the same number on all processors."""


def machine() -> Machine | None:
    """Return the system call interface of this process; None for a processor without a table.

    A 32-bit system on a 64-bit kernel reports the kernel's processor, so the size of a pointer decides.
    """
    name, bits = os.uname().machine, 8 * struct.calcsize("P")
    if name == "x86_64" and bits == 64:
        return machine_of("x86-64")
    if name == "aarch64" and bits == 64:
        return machine_of("arm64")
    if (name == "aarch64" or name.startswith("arm")) and bits == 32:
        return machine_of("armv7")
    return None


@cache
def machine_of(processor: str) -> Machine:
    """Return the system call interface of a processor that `syscall_numbers.COLUMNS` names."""
    audit, x32_bit = _MACHINES[processor]
    return Machine(processor, audit, numbers(processor), x32_bit)


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of ``linux/openat2.h``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(folder: int, name: str, flags: int, resolve: int) -> int:
    """Open ``name`` relative to an open folder; ``resolve`` restricts links; raises `OSError`.

    Linux has this call since 5.6. Older kernels fail with ENOSYS. Containers that refuse unknown calls fail with
    ENOSYS or EPERM.
    """
    path = os.fsencode(name)
    if b"\0" in path:
        raise ValueError("embedded null byte")
    text, how = ctypes.create_string_buffer(path), _OpenHow(flags, 0, resolve)
    return call(_OPENAT2, folder, ctypes.addressof(text), ctypes.addressof(how), ctypes.sizeof(how))


def call(number: int, *arguments: int) -> int:
    """Make the system call; raises `OSError`."""
    result: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    return _checked(result)


def mlockall(flags: int) -> None:
    """Make the ``mlockall`` call; raises `OSError`."""
    _checked(_libc.mlockall(ctypes.c_int(flags)))


def prctl(option: int, value: int = 0, more: int = 0) -> int:
    """Make the ``prctl`` call with the unused arguments zero; raises `OSError`."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(more), zero, zero))


def capset(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Set the capabilities of the calling thread; raises `OSError`."""
    _checked(_libc.capset(ctypes.byref(header), data))


def capget(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Read the capabilities of the calling thread into ``data``; raises `OSError`."""
    _checked(_libc.capget(ctypes.byref(header), data))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
