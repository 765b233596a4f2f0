"""How every process of the daemon logs: to standard error, with the room's name, in the journal with priorities.

What a child writes there reaches the supervisor, which filters it (`edge_infer.supervisor.output`).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

CHAT: Final = ("INFO:", "VERBOSE:")
"""What lines of the runtime begin with that say that all is well."""
LEVELS: Final = ("debug", "info", "warning", "error")
_PRIORITY: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
LONGEST_LINE: Final = 1000
"""Characters of a line of the log; of what a child writes, bytes."""


def printable(text: str) -> str:
    """The text without what a terminal obeys or nobody sees: control, format and unassigned characters, half ones.

    A replacement character (U+FFFD) stands for each; a space for what separates words.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)


class _Formatter(logging.Formatter):
    """What others have sent may be part of any line."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line)[:LONGEST_LINE] for line in super().format(record).split("\n"))


class _JournalFormatter(_Formatter):
    """sd-daemon(3): a line that begins with ``<N>`` has that priority; the journal has the time already."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return level + super().format(record).replace("\n", f"\n{level}  ")


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
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(room)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
