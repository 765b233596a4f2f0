"""Questions about the decision record, asked over the control socket and not answered yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Final

from edge_infer.codec import ABSENT, decode, encode, replace
from edge_infer.config.words import plain
from edge_infer.errors import WireError
from edge_infer.rooms import WhyAnswer, WhyQuestion
from edge_infer.supervisor.control import MAX_ECHO, Request
from edge_infer.supervisor.house import House

WITHIN: Final = 10.0
MOST_WAITING: Final = 8
MOST_NOTES: Final = 64


class Whys:
    """Passes questions to the engine, which answers them in their order."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._waiting: deque[tuple[float, Request, str | None]] = deque()  # deadline, request, asked pipeline

    def begin(self, request: Request) -> None:
        """Pass a question to the engine, or answer it with an error."""
        asked = {key: request.body.get(key) for key in ("since", "until", "pipeline", "label")}
        try:
            question = decode(WhyQuestion, asked)
        except WireError as error:
            why = plain(str(error), MAX_ECHO)
            request.answer({"error": f"a question needs since and until, and may name a pipeline and a label: {why}"})
            return
        if question.since > question.until:
            request.answer({"error": "a question has since before until"})
        elif len(self._waiting) >= MOST_WAITING:
            request.answer({"error": "others are asking; try again in a moment"})
        elif not self._house.ask_why(question):
            request.answer({"error": "the engine does not run now; try again in a moment"})
        else:
            self._waiting.append((time.monotonic() + WITHIN, request, question.pipeline))

    def go_on(self) -> None:
        """Answer questions that the engine has answered, and overdue ones."""
        for answer in self._house.take_whys():
            self._answer(answer)
        while self._waiting and self._waiting[0][0] < time.monotonic():
            self._waiting.popleft()[1].answer({"error": f"the engine did not answer within {WITHIN:.0f} s"})

    def close(self) -> None:
        """Close the connections of all waiting requests."""
        for _, request, _ in self._waiting:
            request.close()
        self._waiting.clear()

    def _answer(self, answer: WhyAnswer) -> None:
        if self._waiting:
            _, request, asked = self._waiting.popleft()
            answer = replace(answer, notes=(*answer.notes, *self._held_back(asked))[:MOST_NOTES])
            request.answer({"error": answer.error} if answer.error else encode(answer))

    def _held_back(self, asked: str | None) -> Iterator[str]:
        """Return a note for each pipeline whose frame rate the governor limits."""
        governor = self._house.restraint.governor
        if governor is None:
            return
        why = "" if governor.reason is ABSENT else f" ({governor.reason})"
        for name, fps in governor.limits.items():
            if asked in (None, name):
                yield f"{name}: the governor holds it back to {fps:g} fps now{why}"
