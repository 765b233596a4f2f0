"""Plug-ins: a table ``name -> "module:Class"``, and the entry points by which other packages extend it.

The process that reads a configuration resolves names to targets. The other processes receive targets and import them
when needed. The engine therefore does not need ``importlib.metadata``, which would load ``socket``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from edge_infer.errors import ConfigError


def names(table: Mapping[str, str], group: str) -> tuple[str, ...]:
    """Return all names of a table: built-in names, and names of other packages by the entry point ``group``."""
    return tuple(dict.fromkeys([*table, *_plugins(group)]))


def target(table: Mapping[str, str], group: str, name: str) -> str:
    """Return the ``module:Class`` of a name; raises `ConfigError` for an unknown one. Built-in names win."""
    found = table.get(name) or _plugins(group).get(name)
    if found is None:
        raise ConfigError(f"unknown name {name!r}; known: {', '.join(sorted(names(table, group)))}")
    return found


def load(target: str) -> Any:  # the caller knows the interface of the classes in its table
    """Return the class behind ``module:Class``; raises `ConfigError` when it cannot be imported."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target} cannot be imported: {error}") from error


def _plugins(group: str) -> dict[str, str]:
    from importlib import metadata

    return {point.name: point.value for point in metadata.entry_points(group=group)}


# Decoder names and their import targets. The targets are texts, because importing NumPy starts threads.

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
    """Return the names of all families, built-in and from other packages."""
    return names(DECODERS, GROUP)
