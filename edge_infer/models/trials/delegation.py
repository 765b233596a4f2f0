"""Trial of a delegate: it must run enough of the model's graph, and its results must match the processor's results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.input.files import read_lines
from edge_infer.engine.input.recording import read_recording, windows
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Captured, Frame, Samples
from edge_infer.frames.picture import read_picture
from edge_infer.models.packages.package import Package
from edge_infer.models.trials.golden import LARGEST, NOT_IT, GoldenFinding, golden_complaint, iou, seen_in
from edge_infer.plan.records import PipelinePlan, SignalPlan, TextPlan

INPUTS: Final = 8
"""Maximum number of inputs for the comparison: golden inputs if the package has some, otherwise generated inputs."""
TOLERANCE: Final = 0.05
"""Allowed difference from the processor's value, as a fraction of that output's range over all inputs."""
STEPS: Final = 2.0
"""Difference that is always allowed, in steps of a quantized output, because accelerators round differently."""
ALIKE: Final = 0.95
"""Fraction of an output's values, over all inputs, that must be within the tolerance. Sorted results may change
places."""

PEAK: Final = 0.25
"""In an output of one row, as of a classifier, a value is a peak if its distance from the median exceeds this fraction
of the range. Nearly all other values are meaningless, so a few wrong peaks could be all that matters."""
PEAK_TOLERANCE: Final = 0.25
"""Allowed difference of a peak, as a fraction of the range. Half of the peaks must be within it."""
MARGIN, CLOSE, LEAST_IOU, FOUND_ALIKE = 0.1, 0.2, 0.5, 0.8
"""Criteria for findings. A finding is clear if its score exceeds the threshold by ``MARGIN``. The fraction
``FOUND_ALIKE`` of the clear findings of processor and delegate must also be found by the other one: with the same
label, a score that differs by at most ``CLOSE``, and a box with an IoU of at least ``LEAST_IOU``."""

Values = list[list[NDArray[Any]]]
"""Output values, indexed by input, then by output."""


def try_delegate(pipeline: PipelinePlan, package: Package) -> float:
    """Return the fraction of operators that the delegate runs; raises `ModelError` if its results are unusable."""
    assert pipeline.delegate is not None
    with LoadedModel(replace(pipeline, delegate=None)) as model:
        outputs = model.interpreter.outputs
        frames = list(_frames(model, package))
        expected, findings = _run(model, frames), _findings(model, frames)
        golden = [
            each for each in package.manifest.golden if not golden_complaint(model, each, package, pipeline.threshold)
        ]
    strict = replace(pipeline.delegate, on_failure="refuse")
    with LoadedModel(replace(pipeline, delegate=strict)) as model:
        share = model.interpreter.delegated
        found = _run(model, frames)
        for position, output in enumerate(outputs):
            _compare(output, *(np.stack([each[position] for each in values]) for values in (expected, found)))
        _compare_findings(findings, _findings(model, frames), pipeline.threshold)
        for each in golden:  # the processor satisfies it with the settings of this pipeline
            if why := golden_complaint(model, each, package, pipeline.threshold):
                raise ModelError(f"with the delegate, golden input {each.input} fails: {why.removesuffix(NOT_IT)}")
    return share


def _frames(model: LoadedModel, package: Package) -> Iterator[Captured]:
    golden = package.manifest.golden
    try:
        for each in golden[:INPUTS]:
            path, _ = package.read(each.input, LARGEST)
            yield from islice(_frames_in(model, package.place(path), path.name), INPUTS)
    except InputError as error:
        raise ModelError(f"golden input {error}") from error
    if not golden:
        yield from varied(model, INPUTS)


def _frames_in(model: LoadedModel, path: str, name: str) -> Iterator[Captured]:
    """Yield the content of a file as input for the model."""
    if isinstance(model.taken, TextPlan):
        yield from read_lines(path)
    elif isinstance(model.taken, SignalPlan):
        for window in windows(model, read_recording(path, model.taken, name), path):
            assert isinstance(window, Samples)
            yield replace(window, values=window.values.copy())
    else:
        yield Frame(read_picture(path), "bgr", 0.0, 0.0, 1)


def _run(model: LoadedModel, frames: list[Captured]) -> Values:
    """Return the outputs for each frame as real numbers. The model state is reset before each frame."""
    found = []
    for frame in frames:
        model.interpreter.forget()
        model.feed(model.parts(frame)[0])
        outputs = model.interpreter.outputs
        tensors = model.interpreter.invoke()
        found.append([output.dequantize(values) for output, values in zip(outputs, tensors, strict=False)])
        del tensors
    return found


def _compare(output: Tensor, expected: NDArray[Any], found: NDArray[Any]) -> None:
    """Raise `ModelError` unless the delegate's values are close to the expected values."""
    if not np.isfinite(found).all():
        raise ModelError(f"the delegate computes values for {output.name} that are not finite")
    allowed = max(TOLERANCE * float(np.ptp(expected)), STEPS * output.scale[0] if output.scale else 1e-3)
    apart = np.abs(found - expected)
    share = float((apart <= allowed).mean())
    if share < ALIKE:
        raise ModelError(
            f"the delegate computes other values than the processor: of {output.name} only {share:.0%} are within "
            f"{allowed:.3g} of the expected values, and the worst differs by {float(apart.max()):.3g}; at least "
            f"{ALIKE:.0%} must be"
        )
    _compare_peaks(output, expected, found)


def _compare_peaks(output: Tensor, expected: NDArray[Any], found: NDArray[Any]) -> None:
    if expected.ndim != 3 or expected.shape[-1] < 2:  # inputs, 1, values
        return
    least, span = STEPS * output.scale[0] if output.scale else 1e-3, float(np.ptp(expected))
    peaks = np.abs(expected - np.median(expected)) > max(PEAK * span, 5 * least)
    alike = np.abs(found - expected) <= max(PEAK_TOLERANCE * span, least)
    if peaks.any() and (share := float(alike[peaks].mean())) < 0.5:
        raise ModelError(
            f"the delegate computes other values than the processor: of {int(peaks.sum())} that stand out in "
            f"{output.name} only {share:.0%} have the expected value; at least half of them must have it"
        )


def _findings(model: LoadedModel, frames: list[Captured]) -> list[list[GoldenFinding]]:
    found = []
    for frame in frames:
        model.interpreter.forget()
        found.append(seen_in(model.find(frame)))
    return found


def _compare_findings(expected: list[list[GoldenFinding]], found: list[list[GoldenFinding]], threshold: float) -> None:
    """Raise `ModelError` unless processor and delegate each find most of the other's clear findings."""
    for these, others, whose in ((expected, found, "processor"), (found, expected, "delegate")):
        sure = [
            (each, more)
            for one, more in zip(these, others, strict=True)
            for each in one
            if each.score is not None and each.score >= threshold + MARGIN
        ]
        met = sum(any(_are_alike(each, other) for other in more) for each, more in sure)
        if met < FOUND_ALIKE * len(sure):
            raise ModelError(
                f"the delegate computes other values than the processor: of {len(sure)} findings of the {whose}, both "
                f"found only {met}"
            )


def _are_alike(one: GoldenFinding, other: GoldenFinding) -> bool:
    if one.label != other.label or one.score is None or other.score is None or abs(one.score - other.score) > CLOSE:
        return False
    return one.box is None or other.box is None or iou(one.box, other.box) >= LEAST_IOU
