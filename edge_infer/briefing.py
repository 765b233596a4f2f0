"""What a reader is told at its start: in an open file, because anybody may read the arguments of a process."""

from __future__ import annotations

import os

from edge_infer import memfd
from edge_infer.codec import decode_json, dumps
from edge_infer.config.plan import SourcePlan


def briefing(source: SourcePlan) -> int:
    """A file in memory that holds the plan of a source, to be inherited; the caller owns it."""
    file = memfd.create(f"source-{source.name}")
    os.write(file, dumps(source))
    return file


def told(file: int) -> SourcePlan:
    """The plan that the file holds, which is closed; raises `WireError`. A later reader is told the same."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    os.close(file)
    return decode_json(SourcePlan, data)
