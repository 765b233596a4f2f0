"""Passes the plan of a source to its reader in an open file, because every user can read the arguments of a process."""

from __future__ import annotations

import os

from edge_infer.contract.codec import decode_json, dumps
from edge_infer.plan.records import SourcePlan
from edge_infer.platform import memfd


def write_reader_config(source: SourcePlan) -> int:
    """Return an inheritable memory file with the plan of a source; the caller owns it."""
    file = memfd.create(f"source-{source.name}")
    os.write(file, dumps(source))
    return file


def read_reader_config(file: int) -> SourcePlan:
    """Return the plan in the file, and close the file; raises `WireError`.

    Reading does not change the file position, so a later reader gets the same plan.
    """
    data = os.pread(file, os.fstat(file).st_size, 0)
    os.close(file)
    return decode_json(SourcePlan, data)
