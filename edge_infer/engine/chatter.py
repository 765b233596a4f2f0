"""What the runtime says when it loads a model and all is well, kept from people who wait for an outcome."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edge_infer.logs import CHAT
from edge_infer.readers.sources.converter import caught


@contextmanager
def without_chatter() -> Iterator[None]:
    """For a model that a child has tried already: the last words of a process that dies in here would be lost."""
    with caught() as written:
        yield
    lines = [line for line in "".join(written).splitlines(keepends=True) if not line.startswith(CHAT)]
    if lines:
        os.write(2, "".join(lines).encode("utf-8", "surrogateescape"))
