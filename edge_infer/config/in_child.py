"""Reading of a configuration in a child process, so that this process loads none of its modules and threads."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge_infer.contract.codec import decode_json
from edge_infer.errors import StartError, WireError
from edge_infer.plan.records import Compiled
from edge_infer.platform.own_module import own_module


def compile_in_child(config: Path) -> Compiled:
    """Return the plan of a configuration file, or all of its problems; raises `StartError`."""
    done = subprocess.run(own_module("edge_infer.config", str(config.absolute())), stdout=subprocess.PIPE, check=False)
    try:
        return decode_json(Compiled, done.stdout)
    except WireError as error:
        raise StartError(f"{config} could not be read: the child that reads it ended with {done.returncode}") from error
