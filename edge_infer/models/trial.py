"""A model on trial: it has to load, run, find what its manifest promises, and keep to its budget."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Final

import numpy as np

from edge_infer.config.plan import ModelInput, ModelPlan, PipelinePlan
from edge_infer.engine.frame import Captured, Frame
from edge_infer.engine.inputs import find_in_file
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import Classification
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.segmentation import Segmentation
from edge_infer.errors import InputError, ModelError
from edge_infer.models.manifest import Budget, Expectation, Golden
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolution import Resolution
from edge_infer.models.resolve import Opened, conclude, open_model

LARGEST_GOLDEN: Final = 64 << 20
RUNS: Final = 5
"""Timed runs; the best counts, since the board does other things too."""
FRAME: Final = (480, 640, 3)

Box = tuple[float, float, float, float]


def try_model(request: ModelRequest, store: Path | None) -> Resolution:
    """The resolution of a model that works here; raises `ModelError`, and `StartError` where none can work."""
    before = _resident()
    opened = open_model(request)
    found = conclude(request, opened, store)
    budget = opened.package.manifest.budget
    with LoadedModel(_pipeline(found.plan)) as model:
        _check_time(model, found.plan.input, budget, opened)
        _check_memory(_resident() - before - len(opened.data), budget, opened)
    if opened.package.manifest.golden:
        _check_golden(request, opened)
    return found


def _pipeline(plan: ModelPlan) -> PipelinePlan:
    return PipelinePlan(name=plan.name, source="trial", model=plan, threshold=plan.threshold)


def _check_time(model: LoadedModel, taken: ModelInput, budget: Budget, opened: Opened) -> None:
    if budget.latency is None:
        return
    frame: Captured = Frame(np.full(FRAME, 128, np.uint8), "bgr", 0.0, 0.0, 1)
    if taken.takes != "image":
        frame = model.preprocess.example()
    best = min(_timed(model, frame) for _ in range(RUNS))
    if best > budget.latency:
        took, most = f"{best * 1000:.3g} ms", f"{budget.latency * 1000:g} ms"
        raise ModelError(f"{opened.package.file}: one frame takes {took} here; its budget.latency is {most}")


def _timed(model: LoadedModel, frame: Captured) -> float:
    start = time.perf_counter()
    model.find(frame)
    return time.perf_counter() - start


def _check_memory(used: int, budget: Budget, opened: Opened) -> None:
    if budget.memory is not None and used > budget.memory:
        took, most = f"{used / 2**20:.1f} MiB", f"{budget.memory / 2**20:.1f} MiB"
        raise ModelError(f"{opened.package.file}: it takes {took} of memory here; its budget.memory is {most}")


def _resident() -> int:
    """Bytes of memory in use by this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _check_golden(request: ModelRequest, opened: Opened) -> None:
    """The golden inputs speak of the package as it is, not of what a configuration makes of it."""
    plan = conclude(ModelRequest(request.name, request.file), opened).plan
    with LoadedModel(_pipeline(plan)) as model:
        for golden in opened.package.manifest.golden:
            _check_one(model, plan.input, golden, opened)


def _check_one(model: LoadedModel, taken: ModelInput, golden: Golden, opened: Opened) -> None:
    try:
        path, _ = opened.package.read(golden.input, LARGEST_GOLDEN)
        seen = [item for found in find_in_file(model, taken, str(path)) for item in _seen(found.findings)]
    except (InputError, ModelError) as error:
        raise ModelError(f"{opened.package.manifest_path}: golden input {error}") from error
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
