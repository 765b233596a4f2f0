"""A delegate on trial: it has to take enough of a model's graph, and to compute what the processor computes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.codec import replace
from edge_infer.config.plan import PipelinePlan, SignalPlan, TextPlan
from edge_infer.engine.average import windows
from edge_infer.engine.frame import Captured, Frame, Samples
from edge_infer.engine.inputs import read_lines
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.picture import read_picture
from edge_infer.engine.recording import read_recording
from edge_infer.errors import InputError, ModelError
from edge_infer.models.golden import LARGEST
from edge_infer.models.package import Package
from edge_infer.models.soundness import varied

INPUTS: Final = 8
"""Inputs that are compared, at most; where a package has golden inputs, those, else varied ones."""
TOLERANCE: Final = 0.05
"""How far a value may be from the processor's, in shares of the range of that output over all inputs."""
STEPS: Final = 2.0
"""How far in any case: steps of a quantized output. Accelerators round otherwise."""
ALIKE: Final = 0.95
"""The share of an output's values, over all inputs, that have to be so close: what is sorted may change places."""

Values = list[list[NDArray[Any]]]
"""By input, by output."""


def try_delegate(pipeline: PipelinePlan, package: Package) -> float:
    """The share of the operators that it takes; raises `ModelError` where it does not do its work."""
    assert pipeline.delegate is not None
    with LoadedModel(replace(pipeline, delegate=None)) as model:
        outputs = model.interpreter.outputs
        frames = list(_frames(model, package))
        expected = _run(model, frames)
    strict = replace(pipeline.delegate, on_failure="refuse")
    with LoadedModel(replace(pipeline, delegate=strict)) as model:
        share = model.interpreter.delegated
        found = _run(model, frames)
    for position, output in enumerate(outputs):
        _compare(output, *(np.stack([each[position] for each in values]) for values in (expected, found)))
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
        yield from islice(varied(model), INPUTS)


def _frames_in(model: LoadedModel, path: str, name: str) -> Iterator[Captured]:
    """What a file holds, as it goes into the model."""
    if isinstance(model.taken, TextPlan):
        yield from read_lines(path)
    elif isinstance(model.taken, SignalPlan):
        for window in windows(model, read_recording(path, model.taken, name), path):
            assert isinstance(window, Samples)
            yield replace(window, values=window.values.copy())
    else:
        yield Frame(read_picture(path), "bgr", 0.0, 0.0, 1)


def _run(model: LoadedModel, frames: list[Captured]) -> Values:
    """What comes out for each, as real numbers; each is looked at whole, and as though it were the first."""
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
    """Raises `ModelError` unless what was found is close to what was expected."""
    if not np.isfinite(found).all():
        raise ModelError(f"the delegate computes values for {output.name} that are not finite")
    allowed = max(TOLERANCE * float(np.ptp(expected)), STEPS * output.scale[0] if output.scale else 1e-3)
    apart = np.abs(found - expected)
    share = float((apart <= allowed).mean())
    if share < ALIKE:
        raise ModelError(
            f"the delegate computes other values than the processor: of {output.name} only {share:.0%} are within "
            f"{allowed:.3g} of what they should be, the worst is {float(apart.max()):.3g} away; {ALIKE:.0%} have to be"
        )
