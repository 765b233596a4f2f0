"""The log lines about problems and warnings of a configuration, which the process that reads it has worded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from edge_infer.plan.records import Problem
from edge_infer.platform.logs import LONGEST_LINE, printable
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.supervisor.processes.output import MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE

log = logging.getLogger(__name__)

MAX_LOGGED_PROBLEMS: Final = 100
"""Lines of one reading."""


class ProblemLog:
    """Logs problems within the limits of that process's own output: a compromised one chooses their text and number."""

    def __init__(self) -> None:
        self._allowance = TokenBucket(MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE / 60)

    def write(self, level: int, problems: Sequence[Problem]) -> None:
        """Log one line for each problem; one sentence counts those that exceed the limits."""
        for number, problem in enumerate(problems):
            line = printable(str(problem))[:LONGEST_LINE]
            if number == MAX_LOGGED_PROBLEMS or not self._allowance.take(len(line.encode())):
                log.log(level, "… and %d more; edge-infer check prints them", len(problems) - number)
                return
            log.log(level, "%s", line)
