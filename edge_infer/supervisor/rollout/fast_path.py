"""Measurement of the runtime's fast path (XNNPACK) by a child in the sandbox of model trials, once after each start."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json, joined
from edge_infer.errors import WireError
from edge_infer.models.trials.fast_path import CHILD, Timed, remedy, shipped_model
from edge_infer.platform.child_process import death
from edge_infer.supervisor.processes.helper_process import HelperProcess, HelperResult
from edge_infer.supervisor.processes.output import Output

log = logging.getLogger(__name__)

CALM: Final = 10.0
"""Seconds in which no model is loaded or tried, before the measurement starts."""
PATIENCE: Final = 900.0
"""Seconds that the measurement may take. Nothing waits for the measurement, and on a slow board it gets little
processor time."""


class FastPath:
    """Measures once, in a child process that uses only idle processor time."""

    def __init__(self, calm: float = CALM) -> None:
        self.gain: float | None = None
        """Speed-up of a model with the fast path; None while it is unknown or if the measurement failed."""
        self._restless = time.monotonic()  # last time at which a configuration was read or a model loaded
        self._calm = calm
        self._begun = False
        self._errand: HelperProcess | None = None

    def files(self) -> list[int]:
        """Return the descriptors to wait on during the measurement."""
        return [] if self._errand is None else [self._errand.fileno()]

    def pids(self) -> list[int]:
        """Return the id of the measuring process, if there is one."""
        return [] if self._errand is None else [self._errand.pid]

    def look(self, state_dir: Path, *, calm: bool) -> None:
        """Start the measurement once ``calm`` was True for long enough, and collect its outcome.

        Call it every second.
        """
        now = time.monotonic()
        if self._errand is not None:
            self._hear(self._errand)
        elif not calm:
            self._restless = now
        elif not self._begun and now >= self._restless + self._calm:
            self._begun = True
            self._begin(state_dir)

    def close(self) -> None:
        """End the child; may be called twice."""
        if self._errand is not None:
            self._errand.close()
            self._errand = None

    def _begin(self, state_dir: Path) -> None:
        model = shipped_model(state_dir)
        if model is None:
            log.info("XNNPACK fast path not measured: the shipped face model is missing")
            return
        try:
            self._errand = HelperProcess(
                CHILD, str(model.absolute()), "--background", seconds=PATIENCE, output=Output("fast path")
            )
        except OSError as error:
            log.warning("XNNPACK fast path not measured: no process can be started for it: %s", error)

    def _hear(self, errand: HelperProcess) -> None:
        if (said := errand.said()) is None:
            return
        self._errand = None
        try:
            timed = decode_json(Timed, joined([said.output]))
        except WireError:
            timed = Timed(error=_why(said))
        if timed.error:
            log.warning("XNNPACK fast path not measured: %s", timed.error)
            return
        self.gain = timed.gain
        if timed.works:
            log.info("XNNPACK fast path works: a model runs %.1f times as fast with it", timed.gain)
        else:
            log.warning(
                "XNNPACK fast path does not work: it made the shipped face model only %.1f times as fast (%.1f ms a "
                "run). Models may run up to 60 times slower; %s",
                timed.gain,
                timed.fast,
                remedy(timed.runtime),
            )


def _why(said: HelperResult) -> str:
    """Return as text why there is no outcome."""
    if said.excess:
        return f"the process that runs the model {said.excess}"
    if said.status is None:
        return f"one small model takes more than {PATIENCE:.0f} s"
    return f"the process that runs the model {death(said.status)}"
