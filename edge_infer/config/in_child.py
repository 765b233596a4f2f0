"""Reads a configuration in a child process, so that this process needs no modules and threads for this."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json, joined
from edge_infer.errors import StartError, WireError
from edge_infer.plan.records import Compiled
from edge_infer.platform.bounded_run import run_bounded
from edge_infer.platform.child_process import own_module, unexpected_death
from edge_infer.platform.environment import with_taken

MAX_PLAN_BYTES: Final = 16 << 20


def compile_in_child(config: Path, *, replayed: bool = False) -> Compiled:
    """Return the plan of a configuration file, or all of its problems; raises `StartError`.

    ``replayed``: the sources and the broker are not opened, so their files and programs need not exist.
    """
    options = ("--replayed",) if replayed else ()
    command = own_module("edge_infer.config", str(config.absolute()), *options)
    done = run_bounded(command, most=MAX_PLAN_BYTES, first=True, environment=with_taken())
    try:
        return decode_json(Compiled, joined([done.output]))
    except WireError as error:
        how = unexpected_death(done.status)
        raise StartError(f"{config} could not be read: the process that reads it {how}") from error
