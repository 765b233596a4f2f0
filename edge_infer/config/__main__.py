"""A configuration is read in a process of its own: ``python -m edge_infer.config FILE [--store]``.

It prints one JSON object, a `Compiled`, and ends with 0 or 2. The supervisor runs it as a child, so that it loads
neither pydantic nor a YAML parser and no file can crash it. The process that tries the first model starts before it is
known which one that is: both load what they need at the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edge_infer.codec import dumps
from edge_infer.errors import StartError
from edge_infer.models.answering import die_with_parent, own_output
from edge_infer.models.probe import Probe


def main(arguments: Sequence[str] | None = None) -> int:
    """The child: prints a `Compiled` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m edge_infer.config")
    parser.add_argument("file", type=Path)
    parser.add_argument("--store", action="store_true", help="copy the models in use to <state_dir>/blobs")
    args = parser.parse_args(arguments)
    die_with_parent()
    with own_output() as output, Probe() as probe:
        with suppress(StartError):  # who needs it tries again, and says so
            probe.begin()
        from edge_infer.config.compile import compile_config

        compiled = compile_config(args.file, store=args.store, probe=probe)
        output.write(dumps(compiled) + b"\n")
    return 2 if compiled.problems else 0


if __name__ == "__main__":
    sys.exit(main())
