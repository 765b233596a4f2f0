"""Logging of every process: to standard error, with the process name, and with priorities in the journal.

The supervisor receives the output of its children and filters it (`edge_infer.supervisor.processes.output`).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

CHAT: Final = ("INFO:", "VERBOSE:")
"""Prefixes of the runtime's log lines that report no problem."""
LEVELS: Final = ("debug", "info", "warning", "error")
_PRIORITY: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
LONGEST_LINE: Final = 1000
"""Maximum length of a log line in characters; for the output of a child process, in bytes."""


def printable(text: str) -> str:
    """Return the text without control, format and unassigned characters and lone surrogates.

    A terminal would interpret these characters, or they are invisible. U+FFFD replaces each of them, and a space
    replaces white space.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)


class _Formatter(logging.Formatter):
    """Formatter that makes lines printable and short, because any line may contain untrusted text.

    A message is one line. Only a traceback has further lines, which are indented, so that none looks like another
    message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the base class
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n  ".join(printable(line)[:LONGEST_LINE] for line in lines)


class _JournalFormatter(_Formatter):
    """Formatter for the journal: a line that begins with ``<N>`` has that priority, see sd-daemon(3).

    It adds no time, because the journal does.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return level + super().format(record).replace("\n", f"\n{level}")


class _Room(logging.Filter):
    """Adds the process name to each line.

    Lines of the publisher carry its name even if it runs inside another process.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.room = "publisher" if record.name.startswith("edge_infer.publisher.") else self.name
        return True


def set_level(level: str) -> None:
    """Log this level and those above it from now on."""
    logging.getLogger().setLevel(level.upper())


def configure(room: str, level: str) -> None:
    """Set up logging for this process; called once, in its main function."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Room(room))
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(room)s: %(message)s"))
    else:
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(room)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
