"""Redaction of the engine's text before it leaves the device: only known forms pass.

The engine sees frames, and a malicious model file may take over the process that tries it. Their text about a failed
model is meant for users at the device (``edge-infer status``, ``models history``). There the text is enclosed in « and
»; the supervisor writes the rest of such a sentence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import ModelStatus
from edge_infer.plan.device_limits import KNOWN_WORDS, WORDS_AT_ONCE, WORDS_EVERY
from edge_infer.plan.records import Problem
from edge_infer.platform.rate_limits import TokenBucket

_ELSEWHERE: Final = "edge-infer status shows why"
_CHECK: Final = "edge-infer check shows why"
_NUMBER: Final = r"[0-9][0-9.e+-]{0,8}"
_FORMS: Final = (
    (re.compile(r"its outputs were the same, bit by bit, for [0-9]{1,4} different inputs"), r"\g<0>"),
    (re.compile(rf"a frame was not finished within {_NUMBER} s"), r"\g<0>"),
    (re.compile(rf"a frame took {_NUMBER} s, longer than the limit of {_NUMBER} s"), r"\g<0>"),
    (re.compile(r"(the delegate (?:failed while running|cannot be loaded|cannot load it)):.*", re.DOTALL), r"\1"),
    (re.compile(r"(the delegate takes [0-9]{1,6} of [0-9]{1,6} operators)\b.*", re.DOTALL), r"\1"),
    (
        re.compile(r"its output .* has values that are not finite", re.DOTALL),
        "an output has values that are not finite",
    ),
)
"""Forms of the engine's text about a model on probation, with the published text for each."""
_QUOTED: Final = re.compile(r"«([^»]*)(?:»|$)")


class EngineWords:
    """Redacts the status of models.

    A new text with numbers passes only rarely, because an engine could encode data in numbers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._new = TokenBucket(WORDS_AT_ONCE, 1 / WORDS_EVERY, clock)
        self._known: dict[str, None] = {}

    def outward(self, status: ModelStatus) -> ModelStatus:
        """Return the status in the form in which it may leave the device."""
        if isinstance(status.shadow, Mapping):
            shadows = {name: replace(each, reason=self._outward(each.reason)) for name, each in status.shadow.items()}
            status = replace(status, shadow=shadows)
        if isinstance(status.delegate, Mapping):
            found = status.delegate.items()
            delegates = {name: replace(each, reason=self._outward(each.reason)) for name, each in found}
            status = replace(status, delegate=delegates)
        return replace(status, reason=self._outward(status.reason))

    def _outward(self, reason: str | Absent) -> str | Absent:
        return reason if reason is ABSENT else _QUOTED.sub(lambda found: self._rarely(_told(found[1])), reason)

    def _rarely(self, told: str) -> str:
        """Return a text in the published form.

        A text with numbers passes only if it is known already or if the limit allows a new one.
        """
        if not any(map(str.isdigit, told)):
            return told
        if told not in self._known and not self._new.take():
            return _ELSEWHERE
        self._known.pop(told, None)
        self._known[told] = None
        if len(self._known) > KNOWN_WORDS:
            del self._known[next(iter(self._known))]
        return told


def _told(words: str) -> str:
    for form, told in _FORMS:
        if found := form.fullmatch(words):
            return found.expand(told)
    return _ELSEWHERE


def published(problem: Problem) -> str:
    """Return a configuration problem in the form in which it may leave the device, with its position."""
    if problem.foreign:
        problem = replace(problem, text=_CHECK)
    return _QUOTED.sub(_CHECK, str(problem))
