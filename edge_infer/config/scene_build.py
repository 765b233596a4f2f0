"""Conversion of a pipeline's keys for tracks, zones, lines and events to its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_infer.config.load import Document, Steps
from edge_infer.config.pipelines import Pipeline
from edge_infer.config.plan import CropsPlan, EventsPlan, LinePlan, ModelPlan, Problem, TrackPlan, ZonePlan
from edge_infer.config.sentences import suggestion
from edge_infer.config.words import shown

SPELLS: Final = ("classification", "anomaly")
"""Tasks whose result for a whole frame starts and ends events."""


@dataclass(slots=True)
class SceneBuilder:
    """Builds these parts of a plan and adds their problems to ``problems``."""

    document: Document
    problems: list[Problem]

    def parts(
        self, steps: Steps, section: Pipeline, model: ModelPlan, cascade: CropsPlan | None = None
    ) -> dict[str, Any]:
        """Return the fields of a `PipelinePlan`; keys without effect are rejected."""
        track = section.track
        if track is not None and cascade is not None:
            text = f"is for pipelines that see whole frames; put it into pipeline {shown(cascade.pipeline)}, whose ids"
            self._wrong((*steps, "track"), f"{text} are told here, too")
            track = None
        if track is not None and model.task != "detection":
            text = f"belongs to models of task detection; {model.title} is one of task {model.task}"
            self._wrong((*steps, "track"), text)
        for key in ("zones", "lines"):
            if getattr(section, key) and track is None:
                self._wrong((*steps, key), "needs track: true, because only what is followed can come and go")
        for name, zone in section.zones.items():
            self._check_labels((*steps, "zones", name, "labels"), zone.labels, section, model)
        for name, line in section.lines.items():
            self._check_labels((*steps, "lines", name, "labels"), line.labels, section, model)
        return {
            "track": TrackPlan(track.lost, track.confirm) if track else None,
            "zones": tuple(
                ZonePlan(name, zone.polygon, zone.labels, zone.anchor, zone.loiter)
                for name, zone in section.zones.items()
            ),
            "lines": tuple(
                LinePlan(name, line.start, line.end, line.labels, line.anchor) for name, line in section.lines.items()
            ),
            "events": self._events(steps, section, model, cascade),
        }

    def _events(
        self, steps: Steps, section: Pipeline, model: ModelPlan, cascade: CropsPlan | None
    ) -> EventsPlan | None:
        """Return the plan for events of tracked objects, classes and anomalies; a line of text has no duration."""
        said = section.events
        possible = section.track is not None or (model.task in SPELLS and model.input.takes != "text")
        if cascade is not None and model.task in SPELLS and not cascade.followed:
            if "events" in section.model_fields_set and said is not None:
                text = f"needs track: true in pipeline {shown(cascade.pipeline)}, so that what begins can end"
                self._wrong((*steps, "events"), text)
            return None
        if "events" in section.model_fields_set and said is not None and not possible:
            needs = (
                "needs track: true" if model.task == "detection" else f"is not for {model.task} of {model.input.takes}"
            )
            self._wrong((*steps, "events"), f"{needs}; there is nothing here that begins and ends")
        if said is None or not possible:
            return None
        return EventsPlan(said.min_duration, said.min_interval, said.hysteresis, said.most)

    def _check_labels(self, steps: Steps, labels: Sequence[str] | None, section: Pipeline, model: ModelPlan) -> None:
        known = section.labels or model.labels
        for index, label in enumerate(labels or ()):
            if label not in known:
                whose = "this pipeline keeps" if section.labels else "the model has"
                self._wrong((*steps, index), f"{whose} no label {shown(label)}; {suggestion(label, known)}")

    def _wrong(self, steps: Steps, text: str) -> None:
        self.problems.append(self.document.problem(steps, text))
