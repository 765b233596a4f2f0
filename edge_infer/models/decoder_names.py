"""Decoder names and their import targets. This table avoids importing NumPy, which starts threads on import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_infer.tables import names, target

GROUP: Final = "edge_infer.decoders"
DECODERS: Final[Mapping[str, str]] = {
    "classification": "edge_infer.engine.decoders.classification:Classification",
    "ssd_postprocess": "edge_infer.engine.decoders.ssd_postprocess:SsdPostprocess",
    "ssd": "edge_infer.engine.decoders.ssd:Ssd",
    "efficientdet": "edge_infer.engine.decoders.efficientdet:EfficientDet",
    "yolov8": "edge_infer.engine.decoders.yolov8:Yolov8",
    "yolov5": "edge_infer.engine.decoders.yolov5:Yolov5",
    "yolox": "edge_infer.engine.decoders.yolox:Yolox",
    "yolo_grid": "edge_infer.engine.decoders.yolo_grid:YoloGrid",
    "centernet": "edge_infer.engine.decoders.centernet:CenterNet",
    "fomo": "edge_infer.engine.decoders.fomo:Fomo",
    "blazeface": "edge_infer.engine.decoders.blazeface:BlazeFace",
    "yolov8_segment": "edge_infer.engine.decoders.yolov8_segment:Yolov8Segment",
    "yolov8_pose": "edge_infer.engine.decoders.yolov8_pose:Yolov8Pose",
    "movenet": "edge_infer.engine.decoders.movenet:MoveNet",
    "heatmap_pose": "edge_infer.engine.decoders.heatmap_pose:HeatmapPose",
    "segmentation": "edge_infer.engine.decoders.segmentation:Segmentation",
    "autoencoder": "edge_infer.engine.decoders.autoencoder:Autoencoder",
    "regression": "edge_infer.engine.decoders.regression:Regression",
}


def decoder_target(name: str) -> str:
    """Return the import target of the decoder family ``name``; raises `ConfigError` for an unknown family."""
    return target(DECODERS, GROUP, name)


def decoder_names() -> tuple[str, ...]:
    """Return all families, built-in and from other packages."""
    return names(DECODERS, GROUP)
