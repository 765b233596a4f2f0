"""Child process that reads a configuration: ``python -m edge_infer.config FILE [OPTION …]``.

It prints one JSON object, a `Compiled`, and exits with 0 or 2. With ``--wait`` it first loads its modules, then waits
for a line on the standard input before it reads the file. The supervisor runs it as a child. So the supervisor loads
neither pydantic nor a YAML parser, and no file can crash it. The child enters its sandbox before it opens the file.

If no model was tried on this device yet, the child starts the process that tries models before it reads the file, so
that both load their modules at the same time. Later, most edits name only models that were tried before.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edge_infer.contract.codec import dumps
from edge_infer.errors import StartError
from edge_infer.models.trials.child_main import die_with_parent, own_output
from edge_infer.models.trials.known_results import TRIED_FILE
from edge_infer.models.trials.probe import Probe
from edge_infer.platform.child_process import go_first
from edge_infer.platform.config_files import MAX_BYTES, environment_for, variables_of
from edge_infer.platform.environment import take
from edge_infer.platform.paths import trials_folder
from edge_infer.platform.permissions import look_up_names
from edge_infer.sandbox import lock
from edge_infer.sandbox.needs import config_fence
from edge_infer.sandbox.privileges import READ_SEARCH


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the child: print a `Compiled` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m edge_infer.config")
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--store",
        metavar="STATE_DIR",
        help="copy the models in use to <state_dir>/blobs; no other state directory is written to",
    )
    parser.add_argument(
        "--running",
        metavar="STATE_DIR",
        type=Path,
        help="the file is checked for the daemon with this state directory, which cannot change",
    )
    parser.add_argument(
        "--draft", type=Path, metavar="PATH", help="read the standard input in place of this file of the configuration"
    )
    parser.add_argument(
        "--replayed", action="store_true", help="a recording replaces the sources: their own files need not exist"
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait for a line on the standard input before reading the file"
    )
    args = parser.parse_args(arguments)
    die_with_parent()
    go_first()
    logging.getLogger("edge_infer.sandbox").setLevel(logging.ERROR)  # other processes log kernel gaps once per start
    look_up_names()
    lock("config", fence=config_fence(args.store or ""), keep=READ_SEARCH)
    store = False if args.store is None else Path(args.store)
    environment_for(args.file)  # before any model is tried: its process must not inherit variables that the file names
    draft = None if args.draft is None else (args.draft, sys.stdin.buffer.read(MAX_BYTES))
    if draft is not None:
        take(variables_of(draft[1]))
    with own_output() as output, Probe() as probe:
        if args.store is None or not _has_tried(args.store):
            with suppress(StartError):  # the first model that needs this process retries and reports the error
                probe.begin()
        from edge_infer.config.compile.compile import compile_config

        if args.wait:
            if not sys.stdin.buffer.readline():
                return 0  # the file has not changed
            environment_for(args.file)
        compiled = compile_config(
            args.file, store=store, running=args.running, probe=probe, draft=draft, replayed=args.replayed
        )
        output.write(dumps(compiled) + b"\n")
    return 2 if compiled.problems else 0


def _has_tried(state_dir: str) -> bool:
    """Return whether results of trials exist; results that this user cannot read count as missing."""
    try:
        return (trials_folder(state_dir) / TRIED_FILE).exists()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
