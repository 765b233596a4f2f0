"""Saves one picture of a configured source for drawing masks and zones, from the running daemon or directly.

This process sends the request to the daemon and writes the file, with the rights of the user who ran the command. A
separate process decodes the picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_infer.contract.codec import decode_json
from edge_infer.errors import ConfigError, EdgeInferError, InputError, StartError, WireError
from edge_infer.platform.bounded_run import run_bounded
from edge_infer.platform.child_process import own_module
from edge_infer.platform.durable_files import write_durably
from edge_infer.platform.environment import only_harmless
from edge_infer.sandbox.change_user import drops_environment
from edge_infer.sandbox.safe_path import follow
from edge_infer.snapshot.probe import MAX_OUTCOME_BYTES
from edge_infer.snapshot.process import Taken
from edge_infer.supervisor.control.files import MAX_PICTURE_BYTES
from edge_infer.supervisor.control.server import NotRunningError, ask_for_picture, find_socket


def grab(config: Path, source: str, output: Path, *, grid: bool = False) -> str:
    """Save the picture as ``output``, with masked areas black, and return its origin as text.

    Only the owner may read the file. The picture replaces an existing file or link, so that its creator gets no
    access to the picture.
    """
    given: bytes | None
    closed = ""
    try:
        given, how = newest_picture(config, source), "from the running daemon"
    except NotRunningError as error:
        given, how = None, "opened directly: no daemon runs"
        if isinstance(error.__cause__, PermissionError):
            closed = f"; the daemon may run, but {error}"
    try:
        data = _taken(config, source, output.suffix, given, grid=grid)
    except EdgeInferError as error:
        if not closed:
            raise
        raise type(error)(f"{error}{closed}") from error
    try:
        with _settled(output.absolute().parent) as folder:
            write_durably(folder / output.name, data, 0o600)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    return how


@contextmanager
def _settled(folder: Path) -> Iterator[Path]:
    """Yield a path of the folder that no process can replace.

    Root follows no link of another user on the way to the folder.
    """
    if os.geteuid() != 0:
        yield folder
        return
    place = follow(str(folder), {0})
    try:
        yield Path(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


def newest_picture(config: Path, source: str) -> bytes:
    """Return the newest picture of a source of the running daemon, encoded, with masked areas black.

    Nothing is decoded here; a sandboxed process does that. Raises `NotRunningError`, `EdgeInferError`.
    """
    answer, picture = ask_for_picture(find_socket(config), {"do": "grab", "source": source}, timeout=25.0)
    if answer.get("error") or not picture:
        raise EdgeInferError(f"the daemon sent no picture of {source}: {answer.get('error') or 'no reason given'}")
    return picture


def _taken(config: Path, source: str, suffix: str, given: bytes | None, *, grid: bool) -> bytes:
    """Return the encoded picture from the decoding process."""
    options = [*(["--grid"] if grid else []), *(["--given"] if given is not None else [])]
    command = own_module("edge_infer.snapshot.process", str(config.absolute()), source, suffix, *options)
    environment = only_harmless() if drops_environment(config) else None  # the source's code runs in that process
    done = run_bounded(command, given or b"", most=MAX_PICTURE_BYTES + MAX_OUTCOME_BYTES, environment=environment)
    head, _, data = done.output.partition(b"\n")
    try:
        taken = decode_json(Taken, head)
    except WireError as error:
        raise EdgeInferError(f"source {source}: the process that opens it ended with {done.status}") from error
    if taken.error:
        raise {2: ConfigError, 3: StartError}.get(taken.code, EdgeInferError)(taken.error)
    return data
