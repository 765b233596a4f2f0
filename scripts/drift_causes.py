"""Tests whether drift detection distinguishes another model from another scene, with public models and a public
clip."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from drift_scenes import YEAR, Scene

from edge_infer.api import Model, load
from edge_infer.engine.drift.answers import AnswerNumbers
from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.outcome import OutcomeWatch
from edge_infer.engine.drift.picture import PictureSignals, picture_signals
from edge_infer.frames.frame import Pixels
from edge_infer.ipc.drift import CameraReference, OutcomeReference

GOOD: Final = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
WORSE: Final = "yolov8n_full_integer_quant_224.tflite"
EVERY: Final = 30.0
"""Seconds between two frames."""
DAY: Final = 86400.0
"""Seconds of a day. Here the findings are learned for one day and compared for another day."""


@cache
def _bank(assets: Path, file: str, seed: int, *, unseen: bool) -> tuple[AnswerNumbers, ...]:
    """Return the numbers of a model's findings for frames of a scene."""
    scene, labels = Scene(assets, seed), str(assets / "labels" / "coco_labels.txt")
    frames = (scene.unseen if unseen else scene.learned)[::2]
    with load(assets / "models" / file, labels=labels if file == GOOD else None, threshold=0.3) as model:
        return tuple(_numbers(model, scene.picture(frame, 12 * 3600.0)) for frame in frames)


def _numbers(model: Model, picture: Pixels) -> AnswerNumbers:
    objects = model(picture, color="bgr").objects or ()
    scores = tuple(each.score for each in objects)
    return AnswerNumbers(len(objects), scores, None, None, None, tuple(each.label for each in objects))


@cache
def _signals(assets: Path, seed: int, *, unseen: bool) -> tuple[PictureSignals, ...]:
    scene = Scene(assets, seed)
    frames = (scene.unseen if unseen else scene.learned)[::2]
    return tuple(picture_signals(scene.picture(frame, 12 * 3600.0)) for frame in frames)


def cause(assets: Path, what: Literal["model", "scene"], seed: int) -> str:
    """Replace the model or the scene; return the reported cause: ``model``, ``scene`` or ``nothing``."""
    draw, other = np.random.default_rng(seed), seed + 101
    labels = tuple((assets / "labels" / "coco_labels.txt").read_text().split("\n"))
    camera = CameraWatch("scene", YEAR, CameraReference("scene"))
    outcome = OutcomeWatch("scene", YEAR, DAY, 0.3, labels, OutcomeReference("scene"))
    pictures, answers = _signals(assets, seed, unseen=False), _bank(assets, GOOD, seed, unseen=False)
    now = 0.0
    while camera.learned < 1.0 or outcome.learned < 1.0:
        camera.see(now, pictures[draw.integers(len(pictures))])
        outcome.see(now, int(now / 3600 % 24), answers[draw.integers(len(answers))])
        now += EVERY
    scene = other if what == "scene" else seed
    pictures = _signals(assets, scene, unseen=True)
    answers = _bank(assets, WORSE if what == "model" else GOOD, scene, unseen=True)
    seen = {"camera": False, "outcome": False}
    for _ in range(round(DAY / EVERY)):
        camera.see(now, pictures[draw.integers(len(pictures))])
        outcome.see(now, int(now / 3600 % 24), answers[draw.integers(len(answers))])
        seen = {"camera": seen["camera"] or bool(camera.raised), "outcome": seen["outcome"] or bool(outcome.raised)}
        now += EVERY
    if seen["camera"]:
        return "scene"
    return "model" if seen["outcome"] else "nothing"
