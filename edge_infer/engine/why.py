"""Answers to "why did it not tell me?" from the records of decisions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from edge_infer.config.plan import PipelinePlan
from edge_infer.config.sentences import suggestion
from edge_infer.engine.analyse.decisions import Decisions
from edge_infer.rooms import WhyAnswer, WhyQuestion

MOST: Final = 500
"""Sentences of one answer, the newest."""
MOST_NOTES: Final = 64
LONGEST: Final = 500
"""Characters of a sentence."""


def answer(question: WhyQuestion, records: Mapping[str, tuple[PipelinePlan, Decisions]]) -> WhyAnswer:
    """Sentences of all pipelines that were asked after, by time, and what the records cannot tell of."""
    asked = {name: record for name, record in records.items() if question.pipeline in (None, name)}
    if question.pipeline is not None and not asked:
        return WhyAnswer(
            (), error=f"there is no pipeline {question.pipeline!r}; {suggestion(question.pipeline, records)}"
        )
    found = [
        (each.begin, f"{name}: {each.sentence()}"[:LONGEST])
        for name, (_, decisions) in asked.items()
        for each in decisions.between(question.since, question.until, question.label)
    ]
    notes = [
        f"{name}: {note}"[:LONGEST]
        for name, (plan, decisions) in asked.items()
        for note in _notes(question, plan, decisions)
    ]
    return WhyAnswer(tuple(line for _, line in sorted(found)[-MOST:]), tuple(notes[:MOST_NOTES]))


def _notes(question: WhyQuestion, plan: PipelinePlan, decisions: Decisions) -> list[str]:
    notes = []
    if question.label is not None and question.label not in plan.model.labels:
        notes.append(
            f"{plan.model.title} has no label {question.label!r}; {suggestion(question.label, plan.model.labels)}"
        )
    if question.since < decisions.begins:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(decisions.begins))
        notes.append(f"what was decided before {at} is not remembered")
    return notes
