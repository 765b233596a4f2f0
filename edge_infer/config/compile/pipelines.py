"""Converts the keys of a pipeline for tracking, zones, lines and events into its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_infer.config.schema.cascades import SHORT, Crops
from edge_infer.config.schema.file import Config
from edge_infer.config.schema.keys import planned, values_of
from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.contract.codec import replace
from edge_infer.plan.records import (
    CropsPlan,
    EventsPlan,
    ModelPlan,
    PipelinePlan,
    Problem,
    SourcePlan,
    TrackPlan,
    ZonePlan,
)
from edge_infer.yamlfile.error_text import suggestion
from edge_infer.yamlfile.load import Document, Steps
from edge_infer.yamlfile.scalars import shown

SPELLS: Final = ("classification", "anomaly")
"""Tasks in which a result for a whole frame starts and ends events."""


@dataclass(slots=True)
class SceneBuilder:
    """Builds the fields for tracking and events; adds problems to ``problems``."""

    document: Document
    problems: list[Problem]

    def parts(
        self, steps: Steps, section: Pipeline, model: ModelPlan, cascade: CropsPlan | None = None
    ) -> dict[str, Any]:
        """Return the fields of a `PipelinePlan` for tracking and events; report keys without effect."""
        track = section.track
        if track is not None and cascade is not None:
            text = (
                f"is for pipelines that process whole frames; put it into pipeline {shown(cascade.pipeline)}, whose ids"
            )
            self._wrong((*steps, "track"), f"{text} appear here, too")
            track = None
        if track is not None and model.task != "detection":
            text = f"belongs to models of task detection; {model.title} is one of task {model.task}"
            self._wrong((*steps, "track"), text)
        for key in ("zones", "lines"):
            if getattr(section, key) and track is None:
                self._wrong((*steps, key), "needs track: true, because only tracked objects can enter and leave")
        zones = tuple(planned(ZonePlan, zone, name=name) for name, zone in section.zones.items())
        lines = tuple(replace(line, name=name) for name, line in section.lines.items())
        for key, places in (("zones", zones), ("lines", lines)):
            for place in places:
                self._check_labels((*steps, key, place.name, "labels"), place.labels, section, model)
        return {
            "track": planned(TrackPlan, track) if track else None,
            "zones": zones,
            "lines": lines,
            "events": self._events(steps, section, model, cascade),
        }

    def _events(
        self, steps: Steps, section: Pipeline, model: ModelPlan, cascade: CropsPlan | None
    ) -> EventsPlan | None:
        """Return the plan for events of tracked objects, classes and anomalies.

        Text has no events, because a line has no duration.
        """
        said = section.events
        possible = section.track is not None or (model.task in SPELLS and model.input.takes != "text")
        if cascade is not None and model.task in SPELLS and not cascade.followed:
            if "events" in section.model_fields_set and said is not None:
                text = f"needs track: true in pipeline {shown(cascade.pipeline)}, so that events can end"
                self._wrong((*steps, "events"), text)
            return None
        if "events" in section.model_fields_set and said is not None and not possible:
            needs = (
                "needs track: true" if model.task == "detection" else f"is not for {model.task} of {model.input.takes}"
            )
            self._wrong((*steps, "events"), f"{needs}; this pipeline has no events")
        if said is None or not possible:
            return None
        return planned(EventsPlan, said)

    def _check_labels(self, steps: Steps, labels: Sequence[str] | None, section: Pipeline, model: ModelPlan) -> None:
        known = section.labels or model.labels
        for index, label in enumerate(labels or ()):
            if label not in known:
                whose = "this pipeline keeps" if section.labels else "the model has"
                self._wrong((*steps, index), f"{whose} no label {shown(label)}; {suggestion(label, known)}")

    def _wrong(self, steps: Steps, text: str) -> None:
        self.problems.append(self.document.problem(steps, text))


# Cascades (pipelines with the objects of another pipeline as source): their checks and their part of the plan.


@dataclass(slots=True)
class CascadeBuilder:
    """Builds the cascades of a plan; adds problems to ``problems``.

    Missing parents and circular references have been reported before (`edge_infer.config.schema.cascades`).
    """

    document: Document
    problems: list[Problem]

    def inline(self, config: Config) -> Iterator[SourcePlan]:
        """Yield the crop sources that pipelines declare inline. Each has the name of its pipeline."""
        named = self.document.value.get("sources")
        for name, section in config.pipelines.items():
            if not isinstance(section.source, Crops):
                continue
            if isinstance(named, dict) and name in named:
                text = f"its crops are a source of this name, and sources has another {shown(name)}; rename one of them"
                self._wrong(("pipelines", name), text)
            elif (source := self.source(("pipelines", name, "source"), name, section.source)) is not None:
                yield source

    def source(self, steps: Steps, name: str, section: Crops) -> SourcePlan | None:
        """Return the plan of a source of crops; None if it has a problem."""
        turned = [key for key in ("rotate", "flip") if key in section.model_fields_set]
        for key in turned:
            text = "belongs to cameras, clips and pictures; crops come from pictures that are already rotated"
            self._wrong((*steps, key), f"{text}; remove this key")
        if turned:
            return None
        parent = planned(CropsPlan, section).pipeline
        return SourcePlan(name, "crops", "", False, False, {}, section.fps, noisy=False, parent=parent)

    def as_their_roots(self, sources: Sequence[SourcePlan], config: Config) -> list[SourcePlan]:
        """Return the sources, with crops of single pictures marked as single pictures.

        Then the crops are scaled exactly, like those pictures.
        """
        known = {source.name: source for source in sources}
        return [replace(each, stills=_root(each, known, config).stills) if each.parent else each for each in sources]

    def plans(self, config: Config, models: Mapping[str, ModelPlan]) -> dict[str, CropsPlan]:
        """Return the plan of each cascade, by pipeline. Invalid parents are reported."""
        found = {}
        for name, source in config.sources.items():
            if isinstance(source, Crops):
                self._check(("sources", name), "pipeline", source, config, models)
        for name, section in config.pipelines.items():
            crops = crops_of(section, config)
            if crops is None:
                continue
            if isinstance(section.source, Crops):
                self._check(("pipelines", name, "source"), SHORT, crops, config, models)
            if values_of(PipelinePlan, section)["ahead"] != "auto":
                text = (
                    "does nothing in a cascade, because its crops exist only after the parent pipeline has "
                    "processed the frame"
                )
                self._wrong(("pipelines", name, "ahead"), f"{text}; remove this key")
            found[name] = planned(CropsPlan, crops, followed=_followed(crops, config))
        return found

    def _check(self, steps: Steps, key: str, section: Crops, config: Config, models: Mapping[str, ModelPlan]) -> None:
        crops = planned(CropsPlan, section)
        parent = config.pipelines.get(crops.pipeline)
        model = models.get(parent.model) if parent is not None else None
        if parent is None or model is None:
            return  # problems of these are reported elsewhere
        if model.task != "detection":
            right = [shown(name) for name, each in config.pipelines.items() if _detects(each, models)][:3]
            such = f"such as {', '.join(right)}" if right else "which finds boxes"
            text = f"{shown(crops.pipeline)} is of task {model.task}, and crops need boxes; "
            self._wrong((*steps, key), f"{text}name a pipeline of task detection here, {such}")
            return
        known = parent.labels or model.labels
        for index, label in enumerate(crops.labels or ()):
            if label not in known:
                whose = f"pipeline {shown(crops.pipeline)} {'keeps' if parent.labels else 'has'} no label"
                self._wrong((*steps, "labels", index), f"{whose} {shown(label)}; {suggestion(label, known)}")
        for name in ("again", "grown"):
            if name in section.model_fields_set and parent.track is None:
                text = (
                    f"needs track: true in pipeline {shown(crops.pipeline)}, because it needs the ids of tracked "
                    "objects;"
                )
                self._wrong((*steps, name), f"{text} without it, the pipeline processes the crops of every frame")

    def _wrong(self, steps: Steps, text: str) -> None:
        self.problems.append(self.document.problem(steps, text))


def crops_of(section: Pipeline, config: Config) -> Crops | None:
    """Return the cascade section of a pipeline, wherever it is written; None if the source is not crops."""
    source: Any = config.sources.get(section.source) if isinstance(section.source, str) else section.source
    return source if isinstance(source, Crops) else None


def _root(source: SourcePlan, known: Mapping[str, SourcePlan], config: Config) -> SourcePlan:
    """Return the source of the frames from which the crops are cut.

    If a reference on the way is invalid, return the last known source.
    """
    seen = {source.name}
    while source.parent is not None and (parent := config.pipelines.get(source.parent)) is not None:
        name = parent.source if isinstance(parent.source, str) else source.parent
        if name in seen or name not in known:
            break
        seen.add(name)
        source = known[name]
    return source


def _followed(crops: Crops | None, config: Config) -> bool:
    """Return whether the object in a crop has an id: its own id, or the id of an object around it."""
    for _ in config.pipelines:  # circular references are reported elsewhere
        parent = config.pipelines.get(planned(CropsPlan, crops).pipeline) if crops is not None else None
        if parent is None:
            return False
        if parent.track is not None:
            return True
        crops = crops_of(parent, config)
    return False


def _detects(section: Pipeline, models: Mapping[str, ModelPlan]) -> bool:
    return section.model in models and models[section.model].task == "detection"


# Check whether a shadow model can be compared frame by frame with the model of the pipeline.


def unfit(model: ModelPlan, serving: ModelPlan, section: Pipeline) -> str | None:
    """Return the reason why a model cannot be the shadow of ``serving`` in a pipeline; None if it can."""
    if model.name == serving.name:
        return "is already the model of this pipeline; name another one, or remove shadow"
    if model.task != serving.task:
        return f"{model.title} is of task {model.task}, and {serving.title}, which serves here, of {serving.task}"
    if model.input.takes != serving.input.takes:
        return f"{model.title} takes {model.input.takes}, and {serving.title}, which serves here, {serving.input.takes}"
    if model.input.takes == "samples" and model.input != serving.input:
        return f"{model.title} and {serving.title} have different inputs: their manifests need the same input"
    if model.state:
        return f"{model.title} keeps state between frames, and a shadow does not process all frames"
    missing = [label for label in section.labels or () if label not in model.labels]
    if missing:
        return f"{model.title} has no label {missing[0]!r}, which this pipeline keeps"
    return None
