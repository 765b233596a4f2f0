"""Sanity check of a model's outputs: they must be finite and must depend on the input."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.probation import SAME, quiet
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Captured

FEW: Final = 4
"""Minimum number of inputs. If two outputs differ by then, these inputs are enough."""


def check_outputs(model: LoadedModel) -> None:
    """Raise `ModelError` if outputs are not finite, or are identical for many different inputs.

    Identical outputs are allowed if they are `quiet`, because a wake-word model waits for a word that is unknown here.
    """
    inputs: set[bytes] = set()
    outputs: set[bytes] = set()
    for frame in varied(model, SAME + FEW):  # a model may not tell some of them apart
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
