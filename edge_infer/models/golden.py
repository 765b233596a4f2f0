"""Golden inputs: what a package's maker has seen in them has to be found on this board, too."""

from __future__ import annotations

from typing import Final

from edge_infer.config.plan import ModelInput
from edge_infer.engine.inputs import find_in_file
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.segmentation import Segmentation
from edge_infer.errors import InputError, ModelError
from edge_infer.models.manifest import Expectation, Golden
from edge_infer.models.package import Package

LARGEST: Final = 64 << 20
"""Bytes of an input."""

Box = tuple[float, float, float, float]


def check_golden(model: LoadedModel, package: Package) -> None:
    """Raises `ModelError` unless every golden input of a package holds; ``model`` is as its manifest says."""
    for golden in package.manifest.golden:
        _check_one(model, model.taken, golden, package)


def _check_one(model: LoadedModel, taken: ModelInput, golden: Golden, package: Package) -> None:
    try:
        path, _ = package.read(golden.input, LARGEST)
        seen = [item for found in find_in_file(model, taken, str(path)) for item in _seen(found.findings)]
    except (InputError, ModelError) as error:
        raise ModelError(f"{package.manifest_path}: golden input {error}") from error
    if not golden.expect and seen:
        raise ModelError(f"{path}: nothing was to be found in this golden input, but there is {_told(seen)}")
    missing = [wanted for wanted in golden.expect if not any(_is(wanted, label, box) for label, box in seen)]
    if missing:
        wanted = missing[0]
        where = f" at {_numbers(wanted.box)} (IoU of {wanted.iou:g} and more)" if wanted.box else ""
        raise ModelError(
            f"{path}: {wanted.label}{where} was to be found in this golden input, but there is {_told(seen)}; the "
            "file or its manifest is not what was tested"
        )


def _seen(findings: Findings) -> list[tuple[str, Box | None]]:
    """Labels, and boxes in fractions of the picture."""
    if isinstance(findings, Classification):
        return [(scored.label, None) for scored in findings.classes]
    if isinstance(findings, Segmentation):
        return [(filled.label, None) for filled in findings.segments]
    if isinstance(findings, Poses):
        return [(findings.label, None) for _ in findings.bodies]
    if not isinstance(findings, Detections):
        return []
    width, height = findings.source
    return [
        (found.label, (found.box[0] / width, found.box[1] / height, found.box[2] / width, found.box[3] / height))
        for found in findings.objects
    ]


def _is(wanted: Expectation, label: str, box: Box | None) -> bool:
    if wanted.label != label:
        return False
    return wanted.box is None or (box is not None and _iou(wanted.box, box) >= wanted.iou)


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _told(seen: list[tuple[str, Box | None]]) -> str:
    shown = [label + (f" at {_numbers(box)}" if box else "") for label, box in seen[:5]]
    return ", ".join(shown) or "nothing"


def _numbers(box: Box) -> str:
    return "[" + ", ".join(f"{side:.2f}" for side in box) + "]"
