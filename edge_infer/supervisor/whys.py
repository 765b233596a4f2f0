"""Questions after the decision record that were asked over the control socket and are still to be answered."""

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
    """The engine answers in the order of the questions."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._waiting: deque[tuple[float, Request, str | None]] = deque()  # until when, who, about which pipeline

    def begin(self, request: Request) -> None:
        """Hands a question on, or says why not."""
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
        """Answers what the engine has answered, and what it has left open for too long."""
        for answer in self._house.take_whys():
            self._answer(answer)
        while self._waiting and self._waiting[0][0] < time.monotonic():
            self._waiting.popleft()[1].answer({"error": f"the engine did not answer within {WITHIN:.0f} s"})

    def close(self) -> None:
        """Hangs up on everybody who still waits."""
        for _, request, _ in self._waiting:
            request.close()
        self._waiting.clear()

    def _answer(self, answer: WhyAnswer) -> None:
        if self._waiting:
            _, request, asked = self._waiting.popleft()
            answer = replace(answer, notes=(*answer.notes, *self._held_back(asked))[:MOST_NOTES])
            request.answer({"error": answer.error} if answer.error else encode(answer))

    def _held_back(self, asked: str | None) -> Iterator[str]:
        """Of which pipelines frames are left out because of the governor."""
        governor = self._house.restraint.governor
        if governor is None:
            return
        why = "" if governor.reason is ABSENT else f" ({governor.reason})"
        for name, fps in governor.limits.items():
            if asked in (None, name):
                yield f"{name}: the governor holds it back to {fps:g} fps now{why}"
