"""pycocotools, the reference of the COCO evaluation, on boxes in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edge_infer.evaluate.matching import FoundBoxes, TrueBoxes

STATISTICS = ("map50_95", "map50", "map75", "small", "medium", "large")


@dataclass
class Scene:
    """Pictures with labelled and found boxes; classes are 0, 1, …."""

    classes: int
    pictures: list[tuple[FoundBoxes, TrueBoxes]] = field(default_factory=list)


def coco_labels(scene: Scene) -> dict[str, Any]:
    """The labels of a scene as a COCO file has them."""
    annotations: list[dict[str, Any]] = []
    for number, (_, true) in enumerate(scene.pictures):
        for box, kind, area, crowd in zip(true.boxes, true.classes, true.areas, true.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": int(kind), "bbox": _bbox(box),
                    "area": float(area), "iscrowd": int(crowd),
                }
            )  # fmt: skip
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(len(scene.pictures))]
    categories = [{"id": kind, "name": f"class{kind}"} for kind in range(scene.classes)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def evaluated(labels: dict[str, Any], found: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The figures of pycocotools; -1 where it has none."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = labels
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(list(found)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return dict(zip(STATISTICS, judged.stats[:6].tolist(), strict=True))


def reference(scene: Scene) -> dict[str, float]:
    """The figures of pycocotools for a scene."""
    found = [
        {"image_id": number, "category_id": int(kind), "bbox": _bbox(box), "score": float(score)}
        for number, (boxes, _) in enumerate(scene.pictures)
        for box, kind, score in zip(boxes.boxes, boxes.classes, boxes.scores, strict=True)
    ]
    return evaluated(coco_labels(scene), found)


def _bbox(box: np.ndarray[Any, Any]) -> list[float]:
    left, top, right, bottom = box.tolist()
    return [left, top, right - left, bottom - top]


def random_scene(seed: int, pictures: int = 40, classes: int = 3) -> Scene:
    """Labelled boxes of all sizes, some of them crowds, and found ones that are near them, doubled, or made up."""
    random = np.random.default_rng(seed)
    scene = Scene(classes)
    for _ in range(pictures):
        many = int(random.integers(0, 8))
        true = _boxes(random, many)
        kinds = random.integers(0, classes, many)
        areas = (true[:, 2:] - true[:, :2]).prod(axis=1) * random.choice([1.0, 0.6], many)
        crowd = random.random(many) < 0.1
        near = np.repeat(true, 2, axis=0) + random.normal(0, 1, (2 * many, 4)) * random.choice(
            [1, 6, 25], (2 * many, 1)
        )
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        made_up = _boxes(random, int(random.integers(0, 6)))
        boxes = np.concatenate((near, made_up))
        found_kinds = np.concatenate((np.repeat(kinds, 2), random.integers(0, classes, len(made_up))))
        flipped = random.random(len(boxes)) < 0.1
        found_kinds[flipped] = random.integers(0, classes, int(flipped.sum()))
        scores = np.round(random.random(len(boxes)), 6)
        scene.pictures.append((FoundBoxes(boxes, found_kinds, scores), TrueBoxes(true, kinds, areas, crowd)))
    return scene


def _boxes(random: np.random.Generator, many: int) -> np.ndarray[Any, Any]:
    corners = random.uniform(0, 400, (many, 2))
    sizes = np.exp(random.uniform(np.log(6), np.log(250), (many, 2)))
    return np.concatenate((corners, corners + sizes), axis=1)
