"""Unnamed files in memory, which one process passes to another."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import sys
from typing import Final

_NOEXEC_SEAL: Final = 0x0008
"""``MFD_NOEXEC_SEAL`` of Linux 6.3: the file can never be executed, whatever is written into it."""
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_BLOCK: Final = 1 << 20


def create(name: str, flags: int = 0) -> int:
    """Return an empty memory file, which cannot be executed if the kernel supports that (Linux 6.3)."""
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3
            raise
    return os.memfd_create(name, os.MFD_CLOEXEC | flags)


def bounded(name: str, most: int) -> int:
    """Return a memory file of ``most`` zeros that no process can enlarge.

    Pages take no memory until they are written. The writer truncates the file to its content. Raises `OSError`.
    """
    file = create(name, os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, most)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    except OSError:
        os.close(file)
        raise
    return file


def copied(source: int, name: str, most: int = sys.maxsize) -> tuple[int, str]:
    """Return a sealed copy of an open file's bytes, at most ``most`` of them, and the SHA-256 of the copy.

    No process can change the copy. Its file position is 0, and the caller owns it. Raises `OSError`.
    """
    digest, file = hashlib.sha256(), create(name, os.MFD_ALLOW_SEALING)
    try:
        while part := os.read(source, min(_BLOCK, most)):
            most -= len(part)
            digest.update(part)
            write_all(file, part)
        seal(file)
        os.lseek(file, 0, os.SEEK_SET)
    except BaseException:
        os.close(file)
        raise
    return file, digest.hexdigest()


def seal(file: int) -> None:
    """Forbid every process to change the file.

    Raises `OSError` if a process has mapped it writable or has forbidden seals.
    """
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)


def write_all(file: int, data: bytes) -> None:
    """Write all bytes; raises `OSError`."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def content(file: int) -> bytes:
    """Return all bytes of an open file without moving its position."""
    size, parts, have = os.fstat(file).st_size, [], 0
    while have < size and (part := os.pread(file, size - have, have)):
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def place(file: int) -> str:
    """Return the path under which this process, and no other, can reopen the file."""
    return f"/proc/self/fd/{file}"


def mapped(file: int, size: int, *, writable: bool) -> mmap.mmap:
    """Map the bytes of the file, excluded from core dumps of this process."""
    rights = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    block = mmap.mmap(file, size, prot=rights)
    block.madvise(mmap.MADV_DONTDUMP)
    return block
