"""How every process of the daemon logs: to standard error, with the room's name, in the journal with priorities."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
_PRIORITY: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _JournalFormatter(logging.Formatter):
    """sd-daemon(3): a line that begins with ``<N>`` has that priority; the journal has the time already."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\n  ")
        return f"<{_PRIORITY.get(record.levelno, 6)}>{text}"


class _Room(logging.Filter):
    """Puts the room on each line: that of the process, or the publisher where this one lives in another's."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.room = "publisher" if record.name.startswith("edge_infer.publisher.") else self.name
        return True


def configure(room: str, level: str) -> None:
    """Sets up logging for this process; called once, in its main."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Room(room))
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(room)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(room)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
