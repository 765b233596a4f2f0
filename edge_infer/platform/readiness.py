"""Waits for descriptors with poll(2), which has no maximum descriptor; select(2) fails from 1024 on."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterable


def readable(reads: Iterable[int], writes: Iterable[int] = (), timeout: float = 0.0) -> list[int]:
    """Wait until one of ``reads`` is readable or one of ``writes`` is writable; return the readable ones.

    An end of file and an error count as readable. Raises `OSError` for a descriptor that is not open.
    """
    wanted = dict.fromkeys(reads, select.POLLIN)
    writes = tuple(writes)
    for file in writes:
        wanted[file] = wanted.get(file, 0) | select.POLLOUT
    poll = select.poll()
    for file, events in wanted.items():
        poll.register(file, events)
    timeout = max(0.0, timeout)  # a negative time would mean no time limit
    try:
        found = poll.poll(timeout * 1000)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # There are more descriptors than the limit of open files, which was lowered while they were open.
        return select.select([file for file in wanted if wanted[file] & select.POLLIN], writes, [], timeout)[0]
    if any(events & select.POLLNVAL for _, events in found):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return [file for file, events in found if wanted[file] & select.POLLIN and events & ~select.POLLOUT]
