"""Golden inputs: the findings that the package's maker listed must also be found on this board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_infer.engine.input.files import find_in_file
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.errors import InputError, ModelError
from edge_infer.models.packages.manifest import Expectation, Golden
from edge_infer.models.packages.package import Package

LARGEST: Final = 64 << 20
"""Maximum size of an input in bytes."""

NOT_IT: Final = "; the file or its manifest differs from the tested one"

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class GoldenFinding:
    """One finding: a box in fractions of the picture, a score or share of 0 to 1, or a value.

    The value is a number, or a distance from normal; None if the value is implausible.
    """

    label: str
    box: Box | None = None
    score: float | None = None
    value: float | None = None

    def __str__(self) -> str:
        """Return the finding as part of a sentence."""
        where = f" at {_numbers(self.box)}" if self.box else ""
        score = "" if self.score is None else f" with {self.score:.3f}"
        return self.label + where + score + ("" if self.value is None else f" {self.value:.4g}")


def check_golden(model: LoadedModel, package: Package, threshold: float) -> None:
    """Raise `ModelError` unless every golden input gives its expected findings.

    The model has no configuration overrides.
    """
    for golden in package.manifest.golden:
        _check_one(model, golden, package, threshold)


def _check_one(model: LoadedModel, golden: Golden, package: Package, threshold: float) -> None:
    if why := golden_complaint(model, golden, package, threshold):
        raise ModelError(f"{package.read(golden.input, LARGEST)[0]}: {why}")


def golden_complaint(model: LoadedModel, golden: Golden, package: Package, threshold: float) -> str:
    """Return the error if the findings in a golden input differ from the expected findings; otherwise empty.

    Raises `ModelError`.
    """
    try:
        path, _ = package.read(golden.input, LARGEST)
        found = find_in_file(model, model.taken, package.place(path), path.name)
        seen = [item for each in found for item in seen_in(each.findings)]
    except (InputError, ModelError) as error:
        raise ModelError(f"{package.manifest_path}: golden input {error}") from error
    return complaint(golden, seen, threshold)


def complaint(golden: Golden, seen: Sequence[GoldenFinding], threshold: float) -> str:
    """Return the error for the findings in a golden input; empty if they match its expectations."""
    if not golden.expect:
        return f"expected nothing in this golden input, but found {_told(seen)}" if seen else ""
    missing, rest = compare(golden.expect, seen)
    if missing:
        wanted = missing[0]
        own = ", a result of its own for each entry" if any(_is(wanted, each) for each in seen) else ""
        return f"expected {_asked(wanted)} in this golden input{own}, but found {_told(seen)}{NOT_IT}"
    extra = [each for each in rest if _sure(each, golden, threshold)]
    if golden.whole and extra:
        return f"expected only the listed results in this golden input, but found {_told(extra)}{NOT_IT}"
    return ""


def compare(
    expect: Sequence[Expectation], seen: Sequence[GoldenFinding]
) -> tuple[list[Expectation], list[GoldenFinding]]:
    """Return the unmet expectations and the unexpected findings. Each finding meets at most one expectation."""
    fits = [[place for place, each in enumerate(seen) if _is(wanted, each)] for wanted in expect]
    taken: dict[int, int] = {}
    missing = [wanted for number, wanted in enumerate(expect) if not _settle(number, fits, taken, set())]
    return missing, [each for place, each in enumerate(seen) if place not in taken]


def _settle(number: int, fits: list[list[int]], taken: dict[int, int], tried: set[int]) -> bool:
    """Assign a finding to an expectation, moving other assignments if needed (augmenting paths, Kuhn 1955)."""
    for place in fits[number]:
        if place not in tried:
            tried.add(place)
            if place not in taken or _settle(taken[place], fits, taken, tried):
                taken[place] = number
                return True
    return False


def _sure(seen: GoldenFinding, golden: Golden, threshold: float) -> bool:
    """Return whether the score exceeds the threshold by more than the results of two runtimes may differ.

    The package's maker would have listed such a finding.
    """
    margin = max((wanted.within for wanted in golden.expect), default=0.0)
    return seen.score is None or seen.score > threshold + margin


def seen_in(findings: Findings) -> list[GoldenFinding]:
    """Return the comparable items of the findings."""
    if isinstance(findings, ClassificationFindings):
        return [GoldenFinding(scored.label, score=scored.score) for scored in findings.classes]
    if isinstance(findings, SegmentationFindings):
        return [GoldenFinding(filled.label, score=filled.share) for filled in findings.segments]
    if isinstance(findings, Poses):
        return [GoldenFinding(findings.label, score=body.score) for body in findings.bodies]
    if isinstance(findings, Deviation):
        state = "anomalous" if findings.score >= findings.threshold else "normal"
        return [GoldenFinding(state, value=findings.score)]
    if isinstance(findings, Measurement):
        return [GoldenFinding(item.plan.name, value=item.value) for item in findings.values]
    if not isinstance(findings, Detections):
        return []
    width, height = findings.source
    return [
        GoldenFinding(found.label, (box[0] / width, box[1] / height, box[2] / width, box[3] / height), found.score)
        for found in findings.objects
        for box in (found.box,)
    ]


def _is(wanted: Expectation, seen: GoldenFinding) -> bool:
    if wanted.label != seen.label:
        return False
    if wanted.between is not None:
        low, high = wanted.between
        return seen.value is not None and low <= seen.value <= high
    if wanted.score is not None and (seen.score is None or abs(seen.score - wanted.score) > wanted.within):
        return False
    return wanted.box is None or (seen.box is not None and iou(wanted.box, seen.box) >= wanted.iou)


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _asked(wanted: Expectation) -> str:
    where = f" at {_numbers(wanted.box)} (IoU of {wanted.iou:g} and more)" if wanted.box else ""
    score = "" if wanted.score is None else f" with {wanted.score:g} (within {wanted.within:g})"
    between = " between {:g} and {:g}".format(*wanted.between) if wanted.between else ""
    return wanted.label + where + score + between


def _told(seen: Sequence[GoldenFinding]) -> str:
    return ", ".join(map(str, seen[:5])) or "nothing"


def _numbers(box: Box) -> str:
    return "[" + ", ".join(f"{side:.2f}" for side in box) + "]"
