"""Files that are memory and have no name, for what one process hands to another."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Final

_NOEXEC_SEAL: Final = 0x0008
"""``MFD_NOEXEC_SEAL`` of Linux 6.3: what others wrote there can never become a program."""


def create(name: str, flags: int = 0) -> int:
    """An empty one, which no program can be run from where the kernel knows how to see to that."""
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3
            raise
    return os.memfd_create(name, os.MFD_CLOEXEC | flags)


def mapped(file: int, size: int, *, writable: bool) -> mmap.mmap:
    """Its bytes, which are left out of any picture of this process's memory."""
    rights = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    block = mmap.mmap(file, size, prot=rights)
    block.madvise(mmap.MADV_DONTDUMP)
    return block
