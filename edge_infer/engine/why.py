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
        for note in _notes(question, plan, decisions, _labels(plan, records))
    ]
    return WhyAnswer(tuple(line for _, line in sorted(found)[-MOST:]), tuple(notes[:MOST_NOTES]))


def _labels(plan: PipelinePlan, records: Mapping[str, tuple[PipelinePlan, Decisions]]) -> tuple[str, ...]:
    """What is decided about: labels of the model, in a cascade those of the objects that it looks at, too."""
    parent = records.get(plan.crops.pipeline) if plan.crops is not None else None
    return tuple(dict.fromkeys((*(parent[0].model.labels if parent else ()), *plan.model.labels)))


def _notes(question: WhyQuestion, plan: PipelinePlan, decisions: Decisions, labels: tuple[str, ...]) -> list[str]:
    notes = []
    if question.label is not None and question.label not in labels:
        title, crops = plan.model.title, plan.crops
        whose = f"{title} has no" if crops is None else f"neither {title} nor pipeline {crops.pipeline} has a"
        notes.append(f"{whose} label {question.label!r}; {suggestion(question.label, labels)}")
    if question.since < decisions.begins:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(decisions.begins))
        notes.append(f"what was decided before {at} is not remembered")
    return notes
