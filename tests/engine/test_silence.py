"""Models in order that say the same of many different inputs, on trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.probation import SAME, Trial, quiet
from edge_infer.engine.tasks.detection import Detection, Detections
from tests.engine.plans import pipeline
from tests.engine.sounds import RESTING


@pytest.mark.parametrize("file", ["mww_alexa.tflite", "openmv_fomo_face_detection.tflite"])
def test_a_wake_word_in_silence_and_a_grid_in_the_dark_stay(assets: Path, file: str) -> None:
    """Noise so faint that nothing is heard or seen in it."""
    interpreter = Interpreter((assets / "models" / file).read_bytes())
    trial, chance = Trial(pipeline().model), np.random.default_rng(1)
    told = []
    for _ in range(4 * SAME):
        given = interpreter.input()
        given[...] = -128 + chance.integers(0, 3, given.shape)
        del given
        trial.given(interpreter)
        tensors = interpreter.invoke()
        told.append(b"".join(values.tobytes() for values in tensors))
        trial.told(interpreter, tensors)
        del tensors
    assert len(set(told[-SAME:])) == 1
    assert not trial.doubted


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_a_resting_sensor_before_a_model_that_computes_in_bytes_stays(assets: Path, noise: float) -> None:
    """It takes and returns floats: faint noise is the same bytes to it, and a sure answer of few bytes repeats."""
    interpreter = Interpreter((assets / "models" / RESTING).read_bytes())
    trial, chance = Trial(pipeline().model), np.random.default_rng(1)
    told = []
    for _ in range(4 * SAME):
        rest = np.zeros(interpreter.inputs[0].shape, np.float32)
        rest[0, :, 2] = 9.75
        interpreter.input()[...] = rest + chance.normal(0.0, noise, rest.shape)
        trial.given(interpreter)
        tensors = interpreter.invoke()
        told.append(tensors[0].tobytes())
        trial.told(interpreter, tensors)
        del tensors
    assert max(map(told.count, told)) >= SAME
    assert not trial.doubted


def test_the_same_of_everything_is_quiet_only_where_it_is_sure() -> None:
    empty = np.tile(np.array([127, -128], np.int8), 144)
    assert quiet([empty])
    assert quiet([np.array([3], np.uint8)])
    assert not quiet([np.full(288, -128, np.int8)])
    assert not quiet([np.tile(np.array([127, -127], np.int8), 144)])
    assert not quiet([empty, np.array([1.0], np.float32)])


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_map_of_one_class_is_an_empty_scene(assets: Path, task: Any) -> None:
    interpreter = Interpreter((assets / "models" / "mww_alexa.tflite").read_bytes())
    trial, chance = Trial(replace(pipeline().model, task=task)), np.random.default_rng(1)

    def look(classes: list[int]) -> None:
        given = interpreter.input()
        given[...] = chance.integers(-128, 128, given.shape)
        del given
        trial.given(interpreter)
        trial.told(interpreter, [np.array(classes, np.int64)])

    for _ in range(SAME - 1):
        look([0] * 100)
    assert not trial.doubted
    look([0] * 100)
    assert trial.doubted == (task == "detection")
    for _ in range(SAME - 1):
        look([0, 1] * 50)
    assert not trial.doubted, "an output that differs is the end of the doubt"
    look([0, 1] * 50)
    assert trial.doubted, "a broken model repeats a picture"


MAPS = {
    "a class everywhere": ("segmentation", np.full(100, 15, np.int64), True),
    "background everywhere": ("segmentation", np.full(100, 0, np.int64), False),
    "an object in each cell": ("detection", np.tile(np.array([-128, 127], np.int8), 50).reshape(1, 5, 10, 2), True),
    "an empty grid": ("detection", np.tile(np.array([127, -128], np.int8), 50).reshape(1, 5, 10, 2), False),
}
"""The task, the output, and whether a healthy model gives none such for many different inputs."""


@pytest.mark.parametrize("what", MAPS)
def test_a_map_that_is_full_everywhere_is_not_quiet_whatever_the_threshold_hides(assets: Path, what: str) -> None:
    task, values, broken = MAPS[what]
    trial, look = _looking(assets, task)
    for _ in range(SAME - 1):
        look(values)
        trial.found(Detections((), (100, 100)))
    assert not trial.doubted
    look(values)
    assert trial.doubted == broken


def test_what_is_found_in_a_map_that_is_the_same_everywhere_counts_too(assets: Path) -> None:
    """A family whose first class is no background."""
    trial, look = _looking(assets, "detection")
    face = Detection("face", 0, 0.996, (0.0, 0.0, 100.0, 100.0))
    for _ in range(SAME):
        look(np.tile(np.array([127, -128], np.int8), 50).reshape(1, 5, 10, 2))
    assert not trial.doubted
    trial.found(Detections((face,), (100, 100)))
    assert trial.doubted
    poster = np.tile(np.array([127, -128], np.int8), 50)
    poster[:2] = poster[1::-1]
    for _ in range(SAME):
        look(poster.reshape(1, 5, 10, 2))
        trial.found(Detections((face,), (100, 100)))
    assert not trial.doubted, "it may hang there all the time"


def _looking(assets: Path, task: Any) -> tuple[Trial, Callable[[Any], None]]:
    """A trial, and what gives it an output for another input each time."""
    interpreter = Interpreter((assets / "models" / "mww_alexa.tflite").read_bytes())
    trial, chance = Trial(replace(pipeline().model, task=task)), np.random.default_rng(1)

    def look(values: Any) -> None:
        given = interpreter.input()
        given[...] = chance.integers(-128, 128, given.shape)
        del given
        trial.given(interpreter)
        trial.told(interpreter, [values])

    return trial, look
