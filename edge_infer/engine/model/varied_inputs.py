"""Generated inputs that clearly differ, with which a model shows whether its outputs depend on its input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.vocabulary import read_vocabulary
from edge_infer.frames.frame import Captured, Frame, Line, Samples
from edge_infer.plan.records import TextPlan

HEIGHT, WIDTH = 240, 320
WORDS: Final = 12

Pixels = NDArray[np.uint8]


def varied(model: LoadedModel, count: int) -> Iterator[Captured]:
    """Yield ``count`` inputs of many kinds, the same at each call: quiet and loud, coarse and fine."""
    chance = np.random.default_rng(1)
    example = model.preprocess.example()
    lines = _lines(model.taken, count, chance) if isinstance(model.taken, TextPlan) else []
    for number in range(count):
        moment = float(number)
        if isinstance(example, Frame):
            yield Frame(_picture(number, chance), "bgr", moment, moment, number + 1)
        elif isinstance(example, Samples):
            yield Samples(_signal(number, chance, example), example.rate, moment, moment, number + 1)
        else:
            yield Line(lines[number], moment, moment, number + 1)


def _lines(plan: TextPlan, count: int, chance: np.random.Generator) -> list[str]:
    """Return lines of random words. All are drawn at once, because a vocabulary is large."""
    words = list(read_vocabulary(plan))
    picked = chance.choice(len(words), (count, WORDS)) if words else np.empty((count, 0), np.intp)
    return [" ".join(words[index] for index in line) for line in picked]


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
    phases = chance.uniform(0.0, 6.3, channels)  # the sine of a window of one sample would otherwise be 0
    waves = np.sin(np.arange(length)[:, np.newaxis] * chance.uniform(0.01, 1.5, channels) + phases)
    values = loudness * (waves if number % 2 else chance.standard_normal((length, channels)))
    return values.astype(np.float32)
