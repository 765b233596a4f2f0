"""``edge-infer models promote``: a shadow becomes the model of its pipeline, by an edit of the configuration file."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from edge_infer.config.promotion import promoted
from edge_infer.durable import replacing
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.supervisor.control import ask, find_socket

ACTIONS: Final = ("promote",)


def run(args: argparse.Namespace) -> int:
    """0 applied, 2 rejected, and then the file is as it was; 1 when no daemon answers, and then it was not touched."""
    socket = find_socket(args.config)
    before = ask(socket, {"do": "status"}, timeout=30.0)
    file = args.config.resolve()
    try:
        data = file.read_bytes()
        edited, pipelines = promoted(args.config, data, args.name, args.pipeline)
        _put(file, edited, data)
    except OSError as error:
        raise ConfigError(f"{args.config} cannot be edited: {error.strerror or error}; it is as it was") from error
    for pipeline in pipelines:
        print(f"{args.config}: pipelines.{pipeline}: model: {args.name}, and no shadow{_known(before, pipeline)}")
    answer = ask(socket, {"do": "reload"})
    if answer.get("state") == "applied":
        print(f"applied {answer['digest'][:8]}; edge-infer status tells when {args.name} is through its probation")
        return 0
    for problem in answer.get("errors", [answer.get("error", "")]):
        print(problem, file=sys.stderr)
    _put(file, data, edited)
    print("edge-infer: the configuration is rejected; the file is as it was before", file=sys.stderr)
    return 2


def _known(status: Any, pipeline: str) -> str:
    """What the comparison has shown so far."""
    for model in status.get("models", {}).values():
        shadow = model.get("shadow", {}).get(pipeline, {})
        if shadow.get("agreement") is not None:
            return f"; it agreed on {shadow['agreement']:.1%} of {shadow['frames']} frames"
    return "; it has not been compared yet"


def _put(file: Path, data: bytes, before: bytes) -> None:
    """Puts other bytes in the file's place, with its owner, mode and attributes; raises `OSError`, `EdgeInferError`."""
    found = file.stat()
    with replacing(file, found.st_mode & 0o7777) as fresh:
        fresh.write(data)
        fresh.flush()
        shutil.copystat(file, fresh.name)
        os.utime(fresh.name)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.fstat(fresh.fileno()).st_gid):
            os.fchown(fresh.fileno(), found.st_uid, found.st_gid)
        if file.read_bytes() != before:
            raise EdgeInferError(f"{file} was changed by somebody else in this moment; it is as they left it")
