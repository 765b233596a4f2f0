"""Golden inputs: what a package's maker has seen in them has to be found on this board, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.config.plan import ModelInput
from edge_infer.engine.inputs import find_in_file
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import Segmentation
from edge_infer.errors import InputError, ModelError
from edge_infer.models.manifest import Expectation, Golden
from edge_infer.models.package import Package

LARGEST: Final = 64 << 20
"""Bytes of an input."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was found: a box in fractions of the picture, or a value that is None where it is implausible."""

    label: str
    box: Box | None = None
    value: float | None = None

    def __str__(self) -> str:
        """In a sentence."""
        where = f" at {_numbers(self.box)}" if self.box else ""
        return self.label + where + ("" if self.value is None else f" {self.value:.4g}")


def check_golden(model: LoadedModel, package: Package) -> None:
    """Raises `ModelError` unless every golden input of a package holds; ``model`` is as its manifest says."""
    for golden in package.manifest.golden:
        _check_one(model, model.taken, golden, package)


def _check_one(model: LoadedModel, taken: ModelInput, golden: Golden, package: Package) -> None:
    try:
        path, _ = package.read(golden.input, LARGEST)
        seen = [item for found in find_in_file(model, taken, str(path)) for item in seen_in(found.findings)]
    except (InputError, ModelError) as error:
        raise ModelError(f"{package.manifest_path}: golden input {error}") from error
    if not golden.expect and seen:
        raise ModelError(f"{path}: nothing was to be found in this golden input, but there is {_told(seen)}")
    missing = [wanted for wanted in golden.expect if not any(_is(wanted, each) for each in seen)]
    if missing:
        wanted = missing[0]
        where = f" at {_numbers(wanted.box)} (IoU of {wanted.iou:g} and more)" if wanted.box else ""
        where += " between {:g} and {:g}".format(*wanted.between) if wanted.between else ""
        raise ModelError(
            f"{path}: {wanted.label}{where} was to be found in this golden input, but there is {_told(seen)}; the "
            "file or its manifest is not what was tested"
        )


def seen_in(findings: Findings) -> list[Seen]:
    """All that there is to compare."""
    if isinstance(findings, Classification):
        return [Seen(scored.label) for scored in findings.classes]
    if isinstance(findings, Segmentation):
        return [Seen(filled.label) for filled in findings.segments]
    if isinstance(findings, Poses):
        return [Seen(findings.label) for _ in findings.bodies]
    if isinstance(findings, Deviation):
        return [Seen("anomalous" if findings.score >= findings.threshold else "normal")]
    if isinstance(findings, Measurement):
        return [Seen(item.plan.name, value=item.value) for item in findings.values]
    if not isinstance(findings, Detections):
        return []
    width, height = findings.source
    boxes = [(found.label, found.box) for found in findings.objects]
    return [Seen(label, (box[0] / width, box[1] / height, box[2] / width, box[3] / height)) for label, box in boxes]


def _is(wanted: Expectation, seen: Seen) -> bool:
    if wanted.label != seen.label:
        return False
    if wanted.between is not None:
        low, high = wanted.between
        return seen.value is not None and low <= seen.value <= high
    return wanted.box is None or (seen.box is not None and _iou(wanted.box, seen.box) >= wanted.iou)


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _told(seen: list[Seen]) -> str:
    return ", ".join(map(str, seen[:5])) or "nothing"


def _numbers(box: Box) -> str:
    return "[" + ", ".join(f"{side:.2f}" for side in box) + "]"
