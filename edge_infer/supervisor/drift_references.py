"""Drift references of the pipelines, in the state directory. The engine cannot write there itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json, dumps
from edge_infer.errors import WireError
from edge_infer.ipc.drift import MAX_REFERENCE_BYTES, DriftReference
from edge_infer.platform.durable_files import write_durably
from edge_infer.platform.paths import content
from edge_infer.platform.rate_limits import LogThrottle

log = logging.getLogger(__name__)

FOLDER: Final = "drift"
SUFFIX: Final = ".json"
WRITE_EVERY: Final = 600.0
"""Minimum seconds between two writes of one file, whatever the engine sends."""


class DriftReferences:
    """One small file for each pipeline.

    If a file cannot be read, the engine learns the reference again. If a file cannot be written, the supervisor keeps
    the reference in memory and tries again later.

    The engine, which sends the references, parses foreign input. So the supervisor checks each reference, and writes it
    at most once in `WRITE_EVERY` seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folder: Path | None = None
        self._written: dict[str, float] = {}
        self._waiting: dict[str, DriftReference] = {}
        self._rarely = LogThrottle(3600.0)

    def open(self, state_dir: Path) -> None:
        """Use the folder in this state directory."""
        self._folder = state_dir / FOLDER

    def read(self, pipelines: Iterable[str]) -> Iterator[DriftReference]:
        """Yield the newest references of these pipelines, where they exist."""
        for name in pipelines:
            found = self._waiting.get(name) or self._read(name)
            if found is not None:
                yield found

    def _read(self, name: str) -> DriftReference | None:
        if self._folder is None:
            return None
        path = self._folder / f"{name}{SUFFIX}"
        try:
            found = decode_json(DriftReference, content(path, MAX_REFERENCE_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            log.warning("%s cannot be read (%s): learning the drift reference of pipeline %s again", path, error, name)
            return None
        if found.pipeline != name:
            log.warning(
                "%s contains the drift reference of another pipeline, %s: learning that of %s again",
                path, found.pipeline, name,
            )  # fmt: skip
            return None
        return found

    def keep(self, reference: DriftReference, pipelines: Iterable[str]) -> None:
        """Keep the reference of one of these pipelines; write it when it is due."""
        if reference.pipeline not in pipelines:
            return
        if (size := len(dumps(reference))) > MAX_REFERENCE_BYTES:
            if self._rarely.due(reference.pipeline):
                log.warning(
                    "drift reference of pipeline %s is too large (%d bytes), so the daemon does not store it",
                    reference.pipeline,
                    size,
                )
            return
        self._waiting[reference.pipeline] = reference
        self.look()

    def look(self) -> None:
        """Write the references that wait and are due."""
        now = self._clock()
        for name in list(self._waiting):
            if now - self._written.get(name, -WRITE_EVERY) >= WRITE_EVERY:
                self._written[name] = now
                self._write(name)

    def write_soon(self, pipeline: str) -> None:
        """Write the next reference of a pipeline without delay, because a person has accepted its drift."""
        self._written.pop(pipeline, None)

    def tidy(self, pipelines: Iterable[str]) -> None:
        """Remove the files of other pipelines.

        This happens only at the start, so that drift detection can be turned off for a while.
        """
        kept = {f"{name}{SUFFIX}" for name in pipelines}
        with suppress(OSError):
            for path in [] if self._folder is None else list(self._folder.iterdir()):
                if path.name not in kept and path.is_file():
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write the references that wait."""
        for name in list(self._waiting):
            self._write(name)

    def _write(self, name: str) -> None:
        if self._folder is None:
            return
        path = self._folder / f"{name}{SUFFIX}"
        try:
            self._folder.mkdir(mode=0o750, exist_ok=True)
            write_durably(path, dumps(self._waiting[name]), 0o640)
            del self._waiting[name]
        except OSError as error:
            if self._rarely.due(path):
                log.warning(
                    "%s cannot be written (%s): until this succeeds, a restart loses what the engine has learned since "
                    "the last write",
                    path,
                    error.strerror,
                )
