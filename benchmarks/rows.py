"""The rows of the table: a public model, its input, and the baselines that can run the same model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.plan.records import Publish

KEYWORDS: Final = (
    "task: classification\n"
    'labels: [Down, Go, Left, "No", "Off", "On", Right, Stop, Up, "Yes", Silence, Unknown]\n'
    "input: {features: raw, rate: 50}\n"  # raw features: the row measures the pipeline, not the computation of cepstra
)
WAKE: Final = "task: classification\nlabels: [nobody, person]\n"


@dataclass(frozen=True, slots=True)
class Row:
    """``frame`` is width and height of pictures; with ``clip`` they come from a video file of 1280 x 720."""

    title: str
    file: str
    goal: float
    frame: tuple[int, int] = (1280, 720)
    publish: Publish = "every"
    clip: bool = False
    manifest: str = ""
    baselines: tuple[str, ...] = ("naive", "queues", "mediapipe")
    kind: str = "classifier"


ROWS: Final = (
    Row("MobileNetV2 uint8, 720p in memory", "mobilenet_v2_1.0_224_quant.tflite", 0.97),
    Row("MobileNetV2 uint8, 720p H.264 file", "mobilenet_v2_1.0_224_quant.tflite", 0.92, clip=True),
    Row("visual wake words, 96x96", "vww_96_int8.tflite", 0.65, (96, 96), "change", manifest=WAKE),
    Row("the same, every result published", "vww_96_int8.tflite", 0.65, (96, 96), manifest=WAKE, baselines=()),
    Row("keyword spotting", "kws_ref_model.tflite", 0.55, publish="change", manifest=KEYWORDS, baselines=()),
    Row("the same, every result published", "kws_ref_model.tflite", 0.55, manifest=KEYWORDS, baselines=()),
    Row("SSD MobileNet, post-process", "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite", 0.97, kind="detector"),
    Row("YOLOv5n int8", "yolov5n-int8.tflite", 0.97, kind="detector"),
)
