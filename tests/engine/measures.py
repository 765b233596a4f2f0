"""How far poses and segments are from public references."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.records import Regions
from edge_infer.engine.tasks.pose import Poses

MOVENET: Final = "movenet_single_pose_lightning_ptq.tflite"
DEEPLAB: Final = "deeplabv3_mnv2_dm05_pascal_quant.tflite"
VOC_CLASSES: Final = 21
HORSE, PERSON = 13, 15
POSE_ERRORS: Final = 0.03, 0.009
"""The largest and the mean one in fractions of the picture, when it is scaled as it was for the reference."""
OVERLAPS: Final = 0.905, 0.765, 0.755
"""Least share of equal pixels, intersection over union of the person and of the horse; the reference rounds them."""


def pose_errors(assets: Path, found: Poses) -> NDArray[np.float64]:
    """Distances of the keypoints of the only body from those of the reference, in fractions of the picture."""
    with (assets / "expected" / "movenet_single_pose_lightning_ptq_reference.csv").open(newline="") as file:
        wanted = np.array([(float(row["keypoint_x"]), float(row["keypoint_y"])) for row in csv.DictReader(file)])
    (body,) = found.bodies
    return np.asarray(np.abs(np.array(body.points)[:, :2] / found.source - wanted), np.float64)


def voc_labels(assets: Path) -> tuple[str, ...]:
    """The names of the classes."""
    return tuple((assets / "labels" / "pascal_voc_segmentation_labels.txt").read_text().splitlines()[:VOC_CLASSES])


def golden_classes(assets: Path) -> NDArray[Any]:
    """The class of every pixel of the golden picture."""
    stored = cv2.imread(str(assets / "expected" / "segmentation_golden_rotation0.png"), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    return np.asarray(stored // 10)


def overlaps(golden: NDArray[Any], regions: Regions) -> tuple[float, float, float]:
    """What `OVERLAPS` has the least of."""
    size = golden.shape[1], golden.shape[0]
    classes = cv2.resize(regions.classes.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    found = [float((classes == golden).mean())]
    for number in (PERSON, HORSE):
        both, either = (classes == number) & (golden == number), (classes == number) | (golden == number)
        found.append(float(both.sum() / either.sum()))
    return found[0], found[1], found[2]
