"""Pass the plan of a source to its reader in an open file, because every user can read the arguments of a process."""

from __future__ import annotations

import os

from edge_infer import memfd
from edge_infer.codec import decode_json, dumps
from edge_infer.config.plan import SourcePlan


def briefing(source: SourcePlan) -> int:
    """Return an inheritable memory file with the plan of a source; the caller owns it."""
    file = memfd.create(f"source-{source.name}")
    os.write(file, dumps(source))
    return file


def told(file: int) -> SourcePlan:
    """Return the plan in the file and close it; raises `WireError`.

    Reading does not move the position of the file, so a later reader gets the same plan.
    """
    data = os.pread(file, os.fstat(file).st_size, 0)
    os.close(file)
    return decode_json(SourcePlan, data)
