"""Sanity check of a model's outputs: they must be finite and must depend on the input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.probation import SAME, quiet
from edge_infer.engine.preprocess.vocabulary import read_vocabulary
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Captured, Frame, Line, Samples
from edge_infer.plan.records import TextPlan

FEW: Final = 4
"""Minimum number of inputs. If two outputs differ by then, these inputs are enough."""
HEIGHT, WIDTH = 240, 320
WORDS: Final = 12

Pixels = NDArray[np.uint8]


def check_outputs(model: LoadedModel) -> None:
    """Raise `ModelError` if outputs are not finite, or are identical for many different inputs.

    Identical outputs are allowed if they are `quiet`, because a wake-word model waits for a word that is unknown here.
    """
    inputs: set[bytes] = set()
    outputs: set[bytes] = set()
    for frame in varied(model):
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


def varied(model: LoadedModel) -> Iterator[Captured]:
    """Yield inputs of many kinds, the same at each call: quiet and loud, coarse and fine."""
    chance = np.random.default_rng(1)
    example = model.preprocess.example()
    words = list(read_vocabulary(model.taken)) if isinstance(model.taken, TextPlan) else []
    for number in range(SAME + FEW):  # a model may not tell some of them apart
        moment = float(number)
        if isinstance(example, Frame):
            yield Frame(_picture(number, chance), "bgr", moment, moment, number + 1)
        elif isinstance(example, Samples):
            yield Samples(_signal(number, chance, example), example.rate, moment, moment, number + 1)
        else:
            picked = chance.choice(len(words), WORDS) if words else ()
            yield Line(" ".join(words[index] for index in picked), moment, moment, number + 1)


def _picture(number: int, chance: np.random.Generator) -> Pixels:
    kind = number % 4
    if kind == 0:  # coarse patches of colour
        grains = 2 + number % 7
        patches = chance.integers(0, 256, (grains, grains, 3), np.uint8)
        return np.ascontiguousarray(patches.repeat(HEIGHT // grains, 0).repeat(WIDTH // grains, 1))
    if kind == 1:  # a bright or dark disc before another brightness
        rows, columns = np.ogrid[:HEIGHT, :WIDTH]
        centre, size = chance.uniform(0.3, 0.7, 2), chance.uniform(20, 100)
        inside = np.hypot(rows - centre[0] * HEIGHT, columns - centre[1] * WIDTH) < size
        front, back = chance.integers(0, 256, (2, 3), np.uint8)
        picture: Pixels = np.where(inside[..., np.newaxis], front, back)
        return picture
    if kind == 2:  # from one colour to another
        begin, end = chance.integers(0, 256, (2, 1, 1, 3))
        row: Pixels = np.linspace(begin, end, WIDTH, axis=1)[0].astype(np.uint8)
        return np.tile(row, (HEIGHT, 1, 1))
    return chance.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _signal(number: int, chance: np.random.Generator, example: Samples) -> NDArray[Any]:
    length, channels = example.values.shape
    loudness = (0.02, 0.3, 1.0, 10.0)[number % 4]
    waves = np.sin(np.arange(length)[:, np.newaxis] * chance.uniform(0.01, 1.5, channels))
    values = loudness * (waves if number % 2 else chance.standard_normal((length, channels)))
    return values.astype(np.float32)
