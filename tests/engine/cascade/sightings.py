"""Sightings made by hand."""

from __future__ import annotations

import numpy as np

from edge_infer.engine.cascade.sighting import Sighted, Sighting
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection
from edge_infer.frames.frame import Frame
from edge_infer.plan.records import CropsPlan, PipelinePlan
from tests.engine.plans import pipeline

SIZE = (640, 480)


def seen(number: int | None, score: float = 0.9, side: float = 40.0, label: str = "person", nth: int = 0) -> Sighted:
    """An object in a square of this side."""
    return Sighted(
        "people", Detection(label, 0, score, (100.0, 100.0, 100.0 + side, 100.0 + side), None, number), SIZE, 7, nth
    )


def shown(*objects: Sighted, at: float = 0.0, present: set[int] | None = None, asked: set[int] | None = None) -> Frame:
    """A frame with what was found in it."""
    ids = frozenset(present) if present is not None else None
    sighting = Sighting(objects, ids, frozenset(asked) if asked is not None else None)
    return Frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), "bgr", at, 1000.0 + at, 1, sighting=sighting)


def child(task: str = "classification", **keys: object) -> PipelinePlan:
    """A cascade of a model that is not there."""
    return pipeline(task, ("mask", "none"), crops=CropsPlan("people", **keys), name="masks")  # type: ignore[arg-type]


def classified(label: str | None, score: float = 0.9) -> ClassificationFindings:
    """What a classifier says of one crop."""
    return ClassificationFindings((Scored(label, 0, score),) if label else ())
