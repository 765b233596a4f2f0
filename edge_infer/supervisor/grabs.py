"""Pictures requested over the control socket that the engine has not delivered yet."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from edge_infer.messages import NAME_PATTERN
from edge_infer.rooms import GrabDone
from edge_infer.supervisor.control import Request
from edge_infer.supervisor.house import House
from edge_infer.supervisor.viewers import refusal

log = logging.getLogger(__name__)

WITHIN: Final = 10.0
"""Seconds that the engine may take for one picture."""
MOST_WAITING: Final = 8


class Grabs:
    """Passes requests for pictures to the engine, which writes into the file of the request.

    No pixel passes through the supervisor. It logs each picture that leaves this way, with the user who gets it.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._waiting: list[tuple[float, str, Request]] = []

    def begin(self, request: Request) -> None:
        """Pass the request to the engine, or answer it with an error."""
        source = request.body.get("source")
        if not isinstance(source, str) or not re.fullmatch(NAME_PATTERN, source) or not request.files:
            request.answer({"error": "a picture needs the name of a source and a file to write into"})
        elif why := refusal(request.peer):
            request.answer({"error": why})
        elif len(self._waiting) >= MOST_WAITING:
            request.answer({"error": f"{MOST_WAITING} pictures are being taken already; try again in a moment"})
        elif not self._house.grab(source, request.files[0]):
            request.answer({"error": "the engine does not run now; try again in a moment"})
        else:
            self._waiting.append((time.monotonic() + WITHIN, source, request))

    def go_on(self) -> None:
        """Answer finished and overdue requests."""
        for done in self._house.take_grabs():
            self._finish(done)
        now = time.monotonic()
        for entry in [entry for entry in self._waiting if entry[0] < now]:
            self._waiting.remove(entry)
            log.info("picture of source %s for %s is late, and may still be written", entry[1], entry[2].peer.user)
            entry[2].answer({"error": f"the engine did not answer within {WITHIN:.0f} s"})

    def close(self) -> None:
        """Close the connections of all waiting requests."""
        for _, _, request in self._waiting:
            request.close()
        self._waiting.clear()

    def _finish(self, done: GrabDone) -> None:
        for entry in self._waiting:
            if entry[1] == done.source:
                self._waiting.remove(entry)
                if not done.error:
                    log.info("picture of source %s given to %s", done.source, entry[2].peer.user)
                entry[2].answer({"error": done.error} if done.error else {"ok": True})
                return
