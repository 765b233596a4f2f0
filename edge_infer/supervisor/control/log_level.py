"""Changes the log level while the daemon runs, for some time or until the next start."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

from edge_infer.contract.codec import encode
from edge_infer.errors import EdgeInferError
from edge_infer.platform.logs import LEVELS, set_level
from edge_infer.supervisor.control.answers import LevelAnswer
from edge_infer.supervisor.control.peer import ChangeLimit
from edge_infer.supervisor.control.server import Request
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor

log = logging.getLogger(__name__)

MAX_SECONDS: Final = 7 * 86400.0


class LogLevel:
    """Log level of all processes. It returns to the ``usual`` level by itself."""

    def __init__(self, house: ProcessSupervisor, usual: str, limit: ChangeLimit) -> None:
        self._house = house
        self._limit = limit
        self._usual = self._level = usual
        self._until = math.inf

    def begin(self, request: Request) -> None:
        """Change the level, for ``seconds`` if the request names them.

        Without a ``level``, answer with the current one.
        """
        level, seconds = request.body.get("level"), request.body.get("seconds")
        if level is not None and level not in LEVELS:
            request.answer({"error": f"unknown log level; expected one of {', '.join(LEVELS)}"})
        elif seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds <= MAX_SECONDS):
            request.answer(
                {"error": f"invalid duration of a log level; expected more than 0 and at most {MAX_SECONDS:.0f} s"}
            )
        else:
            try:
                if level is not None:
                    self._change(request, str(level), seconds)
            except EdgeInferError as error:
                request.answer({"error": str(error)})
                return
            left = None if math.isinf(self._until) else round(self._until - time.monotonic(), 1)
            request.answer(encode(LevelAnswer(self._level, self._usual, left)))

    def _change(self, request: Request, level: str, seconds: float | None) -> None:
        if level != self._level:
            self._limit.count(request.peer.uid)
            self._set(level, f", as {request.peer.user} asked")
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def go_on(self) -> None:
        """Return to the usual level once the time is over."""
        if time.monotonic() >= self._until:
            self._until = math.inf
            self._set(self._usual, " again")

    def _set(self, level: str, why: str) -> None:
        self._level = level
        set_level(level)
        self._house.set_log_level(level)
        log.warning("the log level is %s%s", level, why)
