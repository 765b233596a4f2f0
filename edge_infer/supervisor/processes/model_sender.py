"""Sends model files to the engine as copies in memory, so that the engine itself opens no model file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from edge_infer.errors import ModelError, shortened
from edge_infer.ipc.messages import ApplyPlan, EngineReport, ModelFile
from edge_infer.models.packages.blob_store import promised_digest
from edge_infer.models.packages.read_files import largest_here
from edge_infer.plan.files import files_of_pipelines
from edge_infer.platform import memfd
from edge_infer.sandbox.safe_open import open_beneath
from edge_infer.supervisor.processes.child import ChildProcess

log = logging.getLogger(__name__)

_NAME: Final = "edge-infer-model"
_Version: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size and timestamps of the last changes. At least one of them differs for another file or another
content."""


class ModelSender:
    """Sends each file once to an engine. The engine drops the file when no plan refers to it any more.

    A file in the model store never changes. Any other file is sent again when it has changed on the disk.
    """

    def __init__(self, engine: ChildProcess) -> None:
        self._engine = engine
        self._sent: dict[str, _Version] = {}
        self._order = 0
        self._waiting: dict[str, tuple[str, ...]] = {}  # files that are sent later, by pipeline

    def start_over(self) -> None:
        """Forget which files were sent, because a new engine has none."""
        self._sent.clear()

    def send(self, order: ApplyPlan) -> None:
        """Send the files that the engine lacks for an order; the caller sends the order afterwards.

        `hear` sends files that must wait.

        For a file that cannot be read, the engine gets the reason, unless it already has a file under that path.
        """
        pipelines = order.running()
        paths = files_of_pipelines(pipelines)
        self._sent = {path: self._sent[path] for path in paths if path in self._sent}
        self._order = order.order
        self._waiting = {each.name: files_of_pipelines([each]) for each in pipelines if each.name in order.alone}
        self._send_all(files_of_pipelines(each for each in pipelines if each.name not in order.alone))

    def hear(self, report: EngineReport) -> None:
        """Send the waiting files of each pipeline that has released its previous model."""
        if report.order != self._order:
            return
        for name in list(self._waiting):
            running = report.running.get(name)
            if running is None or running.sha is None:
                self._send_all(self._waiting.pop(name))

    def _send_all(self, paths: Iterable[str]) -> None:
        for path in paths if self._engine.channel is not None else ():
            try:
                self._send(path)
            except (OSError, ModelError) as error:
                why = str(error) if isinstance(error, ModelError) else f"it cannot be read: {error.strerror or error}"
                log.error("model file %s: %s", path, why)  # noqa: TRY400 - a sentence is enough
                if path not in self._sent:
                    self._engine.tell(ModelFile(path, error=shortened(why)))

    def _send(self, path: str) -> None:
        promised = promised_digest(path)
        if path in self._sent and promised is not None:
            return
        file = open_beneath(Path(path), (str(Path(path).parent),))  # the creator of a link could choose the file
        try:
            found = os.fstat(file)
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if self._sent.get(path) == version:
                return
            if found.st_size > largest_here():
                raise ModelError(f"it has {found.st_size} bytes; more than {largest_here()} are not read")
            copy, digest = memfd.copied(file, _NAME)
        finally:
            os.close(file)
        try:
            if promised not in (None, digest):
                raise ModelError(f"its SHA-256 is {digest[:16]}…, not {promised[:16]}…: the file has changed")
            if self._engine.tell(ModelFile(path), (copy,)):
                self._sent[path] = version
        finally:
            os.close(copy)
