"""The command line: each command is one module that parses its arguments, calls the package and prints.

A command is a module named in `COMMANDS` with ``add(parser)``, which declares its arguments, and ``run(args) -> int``.
Only the module of the requested command is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from edge_infer import __version__
from edge_infer.cli.output import complain, print_nothing_more
from edge_infer.errors import EdgeInferError

COMMANDS: Final[Mapping[str, str]] = {
    "run": "runs the daemon in the foreground",
    "reload": "asks the running daemon to read its configuration now",
    "check": "validates a configuration and every model it names",
    "edit": "opens the configuration in an editor, checks it and applies it",
    "infer": "runs one model on pictures or other inputs and prints the results",
    "explain": "shows which part of an input determined the answer of a model",
    "replay": "runs the configured pipelines on a recording and publishes nothing",
    "bench": "measures how fast a model is by itself and in the pipeline",
    "evaluate": "measures how often a model is right on labelled data, or compares two models",
    "inspect": "explains a model file and how it would be used",
    "models": "manages the model store and downloads public models",
    "status": "shows the state of the running daemon",
    "pause": "pauses a pipeline, and closes its camera if no other pipeline needs it",
    "resume": "ends the pause of a pipeline",
    "why": "explains why something was or was not reported",
    "drift": "compares cameras and models with their learned reference",
    "log": "shows or changes the log level of the running daemon",
    "page": "shows how to open the local page in a browser, or serves it",
    "top": "shows the state of the running daemon, updated continuously",
    "metrics": "prints the metrics of the running daemon for Prometheus",
    "watch": "subscribes to a device and prints its messages",
    "doctor": "checks this board: hardware, system, configuration and broker",
    "unit": "prints the systemd drop-in for this box and configuration",
    "privacy": "audits whether raw data (pictures, sound, samples, text) leaves this device",
    "cameras": "lists capture devices, saves one picture of a configured source, or tries an address",
    "schema": "prints the JSON Schema of the configuration or of a payload, or the AsyncAPI document",
}
"""Name and purpose of each command; its module is ``edge_infer.cli.<name>``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or configuration, 3 start failed.

    Without ``arguments`` the process belongs to the command, which may change its user if root started it. A program
    that passes ``arguments`` keeps control of its own process.
    """
    if arguments is None:
        # With more threads, NumPy's matrix products wait for the threads of the models, and take fifty times as long.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = next((word for word in words if not word.startswith("-")), None)
    try:
        return _dispatch(_parser(name), words, own_process=arguments is None)
    except EdgeInferError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        print_nothing_more()
        return 0
    except KeyboardInterrupt:
        return 130


def _parser(name: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-infer",
        description="Runs quantized TFLite models on cameras and publishes only compact results over MQTT.",
        epilog="example: edge-infer check -c /etc/edge-infer/config.yaml",
    )
    parser.add_argument("--version", action="version", version=f"edge-infer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, purpose in COMMANDS.items():
        child = commands.add_parser(
            command, help=purpose, description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if command == name:
            import_module(f"edge_infer.cli.{command}").add(child)
    return parser


def _dispatch(parser: argparse.ArgumentParser, words: list[str], *, own_process: bool) -> int:
    args = parser.parse_args(words)
    args.own_process = own_process
    mask, writes = os.umask(0o077), sys.dont_write_bytecode
    os.umask(mask)
    try:
        code: int = import_module(f"edge_infer.cli.{args.command}").run(args)
    finally:
        if not own_process:  # a command that writes pictures makes its files unreadable for other users
            os.umask(mask)
            sys.dont_write_bytecode = writes
    return code
