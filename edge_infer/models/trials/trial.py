"""Trial of a model: it must load, run, give sane outputs, give the golden findings, and keep its budget."""

from __future__ import annotations

import ctypes
import hashlib
import resource
import time
from pathlib import Path
from typing import Final

import numpy as np

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import backend_name
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.probation import SAME, quiet
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.engine.preprocess import PREPROCESS
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Captured, Frame
from edge_infer.models.packages.manifest import Budget
from edge_infer.models.packages.package import Package
from edge_infer.models.packages.read_files import LARGEST_MODEL
from edge_infer.models.request import ModelRequest, Resolution
from edge_infer.models.resolve.resolve import conclude, parse
from edge_infer.models.trials.golden import check_golden
from edge_infer.plan.plugins import load
from edge_infer.plan.records import Measured, ModelPlan, PipelinePlan

RUNS: Final = 5
"""Number of timed runs."""
ENOUGH: Final = 5.0
"""Seconds of timed runs after which fewer runs are enough: a frame of a large model takes two seconds on a small
board."""
FRAME: Final = (480, 640, 3)


def try_model(request: ModelRequest, package: Package) -> Resolution:
    """Return the resolution of a model that works here, with its measured cost; raises `ModelError`."""
    opened = parse(package, package.content(package.file, LARGEST_MODEL))
    found = conclude(request, opened)
    load(PREPROCESS[found.plan.input.takes])  # imported before the memory is measured
    budget, file = opened.package.manifest.budget, opened.package.file
    try:
        before, begun = _resident(), time.perf_counter()
        with LoadedModel(_pipeline(found.plan)) as model:
            loading = time.perf_counter() - begun
            times = _times(model)
            memory = max(0, _resident() - before)
            _check_budget(min(times), memory, budget)
            check_outputs(model)
            run = model.seconds
    except ModelError as error:
        raise ModelError(f"{file}: {error}", key=error.key, tried=True) from error
    if opened.package.manifest.golden:
        # Golden inputs describe the package itself, without overrides of the configuration.
        plain = replace(request, labels=None, labels_file=None, threshold=None, task=None, decoder=None)
        plan = conclude(plain, opened).plan
        with LoadedModel(_pipeline(plan)) as model:
            check_golden(model, opened.package, plan.threshold)
    usual, runtime = sorted(times)[len(times) // 2], backend_name()[:64]
    measured = Measured(usual, memory, budget.latency, loading, runtime, run)
    return replace(found, plan=replace(found.plan, measured=measured))


def _pipeline(plan: ModelPlan) -> PipelinePlan:
    return PipelinePlan(name=plan.name, source="trial", model=plan, threshold=plan.threshold)


def _times(model: LoadedModel) -> list[float]:
    """Return the seconds from a frame to its findings, for a few runs."""
    frame: Captured = Frame(np.full(FRAME, 128, np.uint8), "bgr", 0.0, 0.0, 1)
    if model.taken.takes != "image":
        frame = model.preprocess.example()
    times: list[float] = []
    while len(times) < RUNS and sum(times) < ENOUGH:
        start = time.perf_counter()
        model.find(frame)
        times.append(time.perf_counter() - start)
    return times


def _check_budget(best: float, memory: int, budget: Budget) -> None:
    """Raise `ModelError` if the best run exceeds the budget. The best run counts, because the board has other load."""
    if budget.latency is not None and best > budget.latency:
        took, most = f"{best * 1000:.3g} ms", f"{budget.latency * 1000:g} ms"
        raise ModelError(f"one frame takes {took} here; its budget.latency is {most}")
    if budget.memory is not None and memory > budget.memory:
        took, most = f"{memory / 2**20:.1f} MiB", f"{budget.memory / 2**20:.1f} MiB"
        raise ModelError(f"it takes {took} of memory here; its budget.memory is {most}")


def _resident() -> int:
    """Return the resident memory of this process in bytes, without freed memory that the allocator keeps."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # only glibc has it
        trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


# Sanity check of a model's outputs: they must be finite and must depend on the input.

FEW: Final = 4
"""Minimum number of inputs. If two outputs differ by then, these inputs are enough."""


def check_outputs(model: LoadedModel) -> None:
    """Raise `ModelError` if outputs are not finite, or are identical for many different inputs.

    Identical outputs are allowed if they are `quiet`, because a wake-word model waits for a word that is unknown here.
    """
    inputs: set[bytes] = set()
    outputs: set[bytes] = set()
    for frame in varied(model, SAME + FEW):  # some of them may be equal for the model
        given, told, silent = _run(model, frame)
        inputs.add(given)
        outputs.add(told)
        if len(inputs) >= FEW and len(outputs) > 1:
            break
        if len(inputs) >= SAME and not silent:
            raise ModelError(f"its outputs are the same, bit by bit, for {len(inputs)} different inputs; it is damaged")
    model.interpreter.forget()


def _run(model: LoadedModel, frame: Captured) -> tuple[bytes, bytes, bool]:
    """Return digests of inputs and outputs, and whether the outputs are `quiet`; also runs the decoder on them."""
    given, told, silent = hashlib.sha256(), hashlib.sha256(), True
    looks = []
    for part in model.parts(frame):
        transform = model.feed(part)
        for position in range(len(model.interpreter.inputs)):
            given.update(np.ascontiguousarray(model.interpreter.input(position)).data)
        tensors = model.interpreter.invoke()
        for tensor, values in zip(model.interpreter.outputs, tensors, strict=False):  # the inputs may follow
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelError(f"its output {tensor.name} has values that are not finite; it is damaged")
            told.update(np.ascontiguousarray(values).data)
        silent = silent and quiet(tensors[: len(model.interpreter.outputs)])
        looks.append((model.decode(tensors), transform))
        del tensors
    model.postprocess(*model.join(looks), frame.monotonic)
    return given.digest(), told.digest(), silent
