"""Redaction of the engine's text before it leaves the device: only known forms pass, nothing of any other.

The engine sees frames. Its text about a failed model is meant for users at the device (``edge-infer status``, ``models
history``). There the text stands between « and », which marks the rest of a sentence as the supervisor's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import ModelStatus

_ELSEWHERE: Final = "edge-infer status says why"
_NUMBER: Final = r"[0-9][0-9.e+-]{0,8}"
_FORMS: Final = (
    (re.compile(r"its outputs were the same, bit by bit, for [0-9]{1,4} different inputs"), r"\g<0>"),
    (re.compile(rf"a frame did not come back within {_NUMBER} s"), r"\g<0>"),
    (re.compile(rf"a frame took {_NUMBER} s, and {_NUMBER} s is the most that it may take"), r"\g<0>"),
    (re.compile(r"(the delegate (?:failed while running|cannot be loaded|cannot load it)):.*", re.DOTALL), r"\1"),
    (re.compile(r"(the delegate takes [0-9]{1,6} of [0-9]{1,6} operators)\b.*", re.DOTALL), r"\1"),
    (
        re.compile(r"its output .* has values that are not finite", re.DOTALL),
        "an output has values that are not finite",
    ),
)
"""Forms of the engine's text about a model on probation, with the published text for each."""
_QUOTED: Final = re.compile(r"«([^»]*)(?:»|$)")


def quoted(text: str) -> str:
    """Return the engine's text in quotation marks, for a sentence of the supervisor."""
    return "«" + re.sub("[«»]", "'", text) + "»"


def outward(status: ModelStatus) -> ModelStatus:
    """Return the status as it may leave the device."""
    if isinstance(status.shadow, Mapping):
        shadows = {name: replace(each, reason=_outward(each.reason)) for name, each in status.shadow.items()}
        status = replace(status, shadow=shadows)
    if isinstance(status.delegate, Mapping):
        delegates = {name: replace(each, reason=_outward(each.reason)) for name, each in status.delegate.items()}
        status = replace(status, delegate=delegates)
    return replace(status, reason=_outward(status.reason))


def _outward(reason: str | Absent) -> str | Absent:
    return reason if reason is ABSENT else _QUOTED.sub(lambda found: _told(found[1]), reason)


def _told(words: str) -> str:
    for form, told in _FORMS:
        if found := form.fullmatch(words):
            return found.expand(told)
    return _ELSEWHERE
