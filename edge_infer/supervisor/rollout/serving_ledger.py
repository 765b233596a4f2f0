"""The record of models in service, in memory and on the disk. Failed writes are retried."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.models.packages.versions import commit_version
from edge_infer.models.serving_record import ServingRecord, open_record, write_record
from edge_infer.plan.records import ModelPlan

log = logging.getLogger(__name__)

AGAIN: Final = 5.0
"""Seconds until the next attempt to write, if the disk was full or read-only."""


class ServingLedger:
    """Owns ``serving.json`` and the additions to ``versions.json``. Every step is written before it takes effect."""

    def __init__(self, note: Callable[[str], None]) -> None:
        """Failures are reported through ``note``, as sentences for ``status``."""
        self.record = ServingRecord()
        self._written = ServingRecord()
        self._versions: list[ModelPlan] = []  # versions that still have to be written
        self._state_dir = Path()
        self._note = note
        self._due = math.inf

    def open(self, state_dir: Path) -> None:
        """Read the record from the disk."""
        self._state_dir = state_dir
        self.record = self._written = open_record(state_dir)

    def enter(self, record: ServingRecord) -> None:
        """Write the record, then use it. If the write fails, raise `StartError` and change nothing."""
        if record != self._written:
            write_record(self._state_dir, record)
        self.record = self._written = record

    def keep(self, record: ServingRecord) -> None:
        """Use the record and write it. A failed write is logged and retried later."""
        self.record = record
        try:
            self.enter(record)
        except StartError as error:
            log.error(  # noqa: TRY400 - a sentence is enough
                "%s; until this succeeds, the daemon would lose the latest model changes at a restart", error
            )
            self._note(str(error))
            self._due = time.monotonic() + AGAIN

    def note_version(self, model: ModelPlan) -> None:
        """Record the version, so that no older version of its package replaces it automatically from now on."""
        try:
            commit_version(self._state_dir, model)
        except StartError as error:
            log.error(  # noqa: TRY400 - a sentence is enough
                "%s; until this succeeds, the daemon may start an older version of %s", error, model.title
            )
            self._note(str(error))
            self._versions.append(model)
            self._due = time.monotonic() + AGAIN

    def catch_up(self) -> None:
        """Retry failed writes when they are due; to be called periodically."""
        if time.monotonic() < self._due:
            return
        self._due = math.inf
        try:
            self.enter(self.record)
            while self._versions:
                commit_version(self._state_dir, self._versions[0])
                del self._versions[0]
        except StartError as error:
            log.debug("model record: retry failed: %s", error)
            self._due = time.monotonic() + AGAIN
        else:
            log.info("model record: the latest model changes are on the disk now")
