"""Answers of a cascade: the child model's findings about each present object, and the state built from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from edge_infer.contract.codec import ABSENT, dumps, replace
from edge_infer.contract.messages import Answer, State
from edge_infer.engine.cascade.sighting import Sighted
from edge_infer.engine.tasks import Essence, Findings, Head, fitting
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.detection import count_state

MOST: Final = 100
"""Maximum number of answers in a state. The message schema has the same limit."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The findings about one object; ``moment`` is the capture time in seconds of the frame clock."""

    about: Sighted
    findings: Findings
    moment: float


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers about all present objects that went through the model."""

    each: tuple[Answered, ...]
    key: str
    """Payload key of the summary of all answers in the state (`CASCADE_KEYS`)."""
    warm: bool = True
    """Whether the parent pipeline has run long enough to confirm every object that is present."""

    @property
    def essence(self) -> Essence:
        """Value that is compared to detect a change: the present objects and the answer about each."""
        return tuple(
            sorted((each.about.id or 0, each.about.found.label, repr(each.findings.essence)) for each in self.each)
        )

    def state(self, head: Head, room: int) -> State:
        """Return the state: a summary and the answers.

        Answers that do not fit into ``room`` bytes are dropped and counted in ``more``.
        """
        state = replace(self._total(head, room), answers=())
        told = [_answer(each, head, room) for each in self.each]
        sizes = (len(dumps(answer)) + 1 for answer in told)
        kept = min(MOST, fitting(sizes, len(told), room - len(dumps(state))))
        left_out = len(told) - kept + (state.more or 0)
        return replace(state, answers=tuple(told[:kept]), more=left_out or ABSENT)

    def _total(self, head: Head, room: int) -> State:
        if self.key == "counts":
            return count_state(head, list(self._labels().elements()), room)
        worst = [each for each in self.each if isinstance(each.findings, Deviation)]
        chosen = max(worst or self.each, key=_rank, default=None)
        if chosen is None:
            nothing: dict[str, Any] = {self.key: None}
            return head.state(**nothing)
        return chosen.findings.state(head, room)

    def _labels(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for each in self.each:
            essence = each.findings.essence
            counts.update([essence] if isinstance(essence, str) else dict(essence or ()))
        return counts


def _rank(answered: Answered) -> float:
    """Return the sort key of an answer: its anomaly score, or its capture time. The greatest key wins."""
    found = answered.findings
    return found.score if isinstance(found, Deviation) else answered.moment


def _answer(answered: Answered, head: Head, room: int) -> Answer:
    said, about = answered.findings.state(head, room), answered.about
    return Answer(
        about.found.label,
        about.id or ABSENT,
        said.class_,
        said.counts or {} if said.counts is not ABSENT else ABSENT,
        said.anomaly or ABSENT,
        ABSENT if said.values is None else said.values,
    )
