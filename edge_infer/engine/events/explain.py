"""Answers "why was this not reported?" from the records of decisions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from edge_infer.engine.events.decision_record import Decisions
from edge_infer.engine.events.reasons import why_held
from edge_infer.errors import shortened
from edge_infer.ipc.messages import WhyAnswer, WhyQuestion
from edge_infer.plan.records import PipelinePlan
from edge_infer.yamlfile.error_text import suggestion

MOST: Final = 500
"""Maximum number of sentences in an answer; the newest are kept."""
EVENTFUL: Final = frozenset({"detection", "classification", "anomaly"})
SCORED: Final = frozenset({"detection", "classification", "pose"})
MOST_NOTES: Final = 64


def answer(question: WhyQuestion, records: Mapping[str, tuple[PipelinePlan, Decisions]]) -> WhyAnswer:
    """Return the decisions of the requested pipelines as sentences, by time, and notes on gaps in the records."""
    asked = {name: record for name, record in records.items() if question.pipeline in (None, name)}
    if question.pipeline is not None and not asked:
        known = suggestion(question.pipeline, records)
        return WhyAnswer((), error=shortened(f"there is no pipeline {question.pipeline!r}; {known}"))
    found = [
        (each.begin, name, shortened(f"{name}: {each.sentence()}"))
        for name, (_, decisions) in asked.items()
        for each in decisions.between(question.since, question.until, question.label)
    ]
    spoke = {name for _, name, _ in found}
    notes = [
        shortened(f"{name}: {note}")
        for name, (plan, decisions) in asked.items()
        for note in (
            *_notes(question, plan, decisions, _labels(plan, records)),
            *_without_events(plan, asked=question.pipeline == name, spoke=name in spoke),
            *_beside_events(plan, asked=question.pipeline == name),
        )
    ]
    return WhyAnswer(tuple(line for _, _, line in sorted(found)[-MOST:]), tuple(notes[:MOST_NOTES]))


def _without_events(plan: PipelinePlan, *, asked: bool, spoke: bool) -> Iterator[str]:
    """Yield the note for a pipeline without events.

    If the pipeline has decisions (``spoke``), it gets the note only if the question names it (``asked``).
    """
    if plan.events is not None or plan.crops is not None or (spoke and not asked):
        return
    task = plan.model.task
    if task == "detection" and plan.track is None:
        text = "there are no events without track: true"
    elif task in EVENTFUL and plan.model.input.takes != "text":
        text = "there are no events with events: false"
    else:
        text = "there are no events of this task"
    if task in SCORED:
        text += f", and findings below the threshold of {plan.threshold:g} are not recorded"
    yield text


def _beside_events(plan: PipelinePlan, *, asked: bool) -> Iterator[str]:
    """Yield the note that the record has no results of a pipeline with events, if the question names the pipeline."""
    if asked and plan.events is not None and (why := why_held(plan)):
        yield f"these are events; a frame changes the state and causes no result while {why}"


def _labels(plan: PipelinePlan, records: Mapping[str, tuple[PipelinePlan, Decisions]]) -> tuple[str, ...]:
    """Return the labels that decisions can be about: of the model and, in a cascade, of the parent's model."""
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
        notes.append(f"there is no record of decisions before {at}")
    return notes
