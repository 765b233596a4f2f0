"""Hides the routine messages that the runtime prints when it loads a model.

Users of one-shot commands wait for a result, not for these messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edge_infer.logs import CHAT
from edge_infer.readers.sources.converter import caught


@contextmanager
def without_chatter() -> Iterator[None]:
    """Drop routine runtime messages; use it only for a model that a child process has already tried.

    If this process dies inside the context, its last messages are lost.
    """
    with caught() as written:
        yield
    lines = [line for line in "".join(written).splitlines(keepends=True) if not line.startswith(CHAT)]
    if lines:
        os.write(2, "".join(lines).encode("utf-8", "surrogateescape"))
