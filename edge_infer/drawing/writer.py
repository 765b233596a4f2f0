"""Handles one request: edits a pipeline in the configuration file, and has the daemon apply it.

The process that serves the page has no access to the file. It sends the drawing, and this code makes the edit. Messages
show what was drawn, so the page chooses no names, and its edits are limited.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from edge_infer.config.file_edit import apply_text, current_digest, read
from edge_infer.config.parts import file_of
from edge_infer.config.scene_edit import DrawingError, drawn
from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.drawing.edit_limit import MAX_AT_ONCE, EditLimit, EditLimitError
from edge_infer.errors import EdgeInferError
from edge_infer.platform.logs import printable
from edge_infer.supervisor.control.peer import user_name
from edge_infer.supervisor.control.server import NotRunningError, ask

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 1 << 17
MAX_EDITS: Final = MAX_AT_ONCE
READ_SECONDS: Final = 10.0
TURN_SECONDS: Final = 20.0
"""Seconds to wait while another writer is active."""
Answer: TypeAlias = dict[str, Any]


class ConflictError(EdgeInferError):
    """The configuration has changed since the drawing was made."""


def serve(connection: socket.socket, config: Path, find: Callable[[], Path], limit: EditLimit) -> None:
    """Answer the request of a connection; ``find`` returns the daemon's control socket."""
    connection.settimeout(READ_SECONDS)
    data = bytearray()
    while not data.endswith(b"\n") and len(data) <= MAX_REQUEST_BYTES and (part := connection.recv(65536)):
        data += part
    try:
        request = json.loads(data)
    except (ValueError, RecursionError):
        request = None
    answer = answered(request if isinstance(request, dict) else {}, config, find, limit)
    connection.sendall(json.dumps(answer).encode() + b"\n")


def answered(request: Mapping[str, Any], config: Path, find: Callable[[], Path], limit: EditLimit) -> Answer:
    """Make the edits in a request, and return the answer for the page."""
    try:
        return _written(request, config, find, limit)
    except NotRunningError as error:
        return {"kind": "away", "error": str(error)}
    except ConflictError as error:
        return {"kind": "conflict", "error": str(error)}
    except EditLimitError as error:
        return {"kind": "busy", "error": str(error)}
    except DrawingError as error:
        return {"kind": "request", "error": str(error)}
    except (EdgeInferError, OSError) as error:
        log.warning("an edit that was drawn on the page failed: %s", printable(str(error)))
        return {"kind": "rejected", "error": str(error), "errors": []}
    except (OverflowError, ValueError, RecursionError):  # numbers that no float can hold, or with thousands of digits
        return {"kind": "request", "error": "a number in the drawing is out of range"}


def _written(request: Mapping[str, Any], config: Path, find: Callable[[], Path], limit: EditLimit) -> Answer:
    pipeline, edits = request.get("pipeline"), request.get("edits")
    if not isinstance(pipeline, str) or not re.fullmatch(NAME_PATTERN, pipeline):
        raise DrawingError("expected the name of a pipeline in pipeline")
    are_edits = isinstance(edits, list) and all(isinstance(each, dict) for each in edits)
    if not isinstance(edits, list) or not are_edits or not 1 <= len(edits) <= MAX_EDITS:
        raise DrawingError(f"expected a list of 1 to {MAX_EDITS} in edits")
    control = find()
    with _turn(config):
        standing = ask(control, {"do": "status"}, timeout=30.0)["config"]
        current = current_digest(config)
        if not standing or (standing["state"] != "applied" and standing["digest"] == current):
            raise ConflictError(
                "the daemon has rejected the current file; correct it first: edge-infer check lists all errors"
            )
        if request.get("digest") != current:
            raise ConflictError(
                "the configuration has changed since you opened it, over SSH or from another page; nothing was "
                "saved: compare your drawing with the current one, and save it again"
            )
        file = file_of(config, "pipelines", pipeline)
        before = read(file)
        edited, told = drawn(file, before, pipeline, edits)
        if any(each.get("what") == "threshold" for each in edits):
            _check_threshold(ask(control, {"do": "scene"}, timeout=30.0), pipeline)
        limit.count(len(edits))
        log.info("%s: %s, edited on the page by %s", file, "; ".join(told), _user(request.get("for")))
        applied = apply_text(file, before, edited, lambda: ask(control, {"do": "reload"}))
        if not applied.digest:
            with suppress(EdgeInferError):  # so that the daemon reads the restored file immediately
                ask(control, {"do": "reload"})
    if not applied.digest:
        log.warning("%s: the daemon rejects the edit; the file is unchanged", file)
        return {"kind": "rejected", "error": "the daemon rejects this; the file is unchanged", "errors": applied.errors}
    return {"digest": applied.digest, "done": told}


def _check_threshold(scene: Mapping[str, Any], pipeline: str) -> None:
    """Raise `DrawingError` if the threshold is not a score: states publish the threshold of an anomaly as a number."""
    if not scene.get("pipelines", {}).get(pipeline, {}).get("thresholds"):
        raise DrawingError(f"pipeline {pipeline} has no threshold of scores; set it with edge-infer edit")


def _user(uid: object) -> str:
    """Return the name of the user at the browser. If a command serves the page, the page's process names no user."""
    return user_name(uid) if type(uid) is int and 0 <= uid < 1 << 32 else "its user"


@contextmanager
def _turn(config: Path) -> Iterator[None]:
    """Hold the lock of the only writer; raises `ConflictError` if another writer does not finish."""
    folder = os.open(config.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + TURN_SECONDS
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConflictError("another edit is being saved; try again in a moment") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(folder)
