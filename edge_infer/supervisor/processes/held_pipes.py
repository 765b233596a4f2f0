"""Named pipes that stay open while their readers are replaced, so that programs writing into them wait."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from edge_infer.platform.closing import Closing


class HeldPipes(Closing):
    """One open end of each pipe. Nothing is read from it.

    If a pipe has no reader, the kernel discards the bytes in it, and the next write ends the writing program with
    SIGPIPE.
    """

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def hold(self, paths: Iterable[str]) -> None:
        """Hold exactly these pipes from now on. A path that does not exist or is not a pipe is ignored."""
        before, self._ends = self._ends, {}
        for path in paths:
            if path not in self._ends and (end := _open(path)) >= 0:
                self._ends[path] = end
        for end in before.values():
            os.close(end)

    def close(self) -> None:
        """Release all; may be called twice."""
        self.hold(())


def _open(path: str) -> int:
    """Return a reading end of the pipe; -1 if the path does not lead to a readable pipe."""
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - opening another device may have effects
            return -1
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return -1
    if stat.S_ISFIFO(os.fstat(end).st_mode):
        return end
    os.close(end)
    return -1
