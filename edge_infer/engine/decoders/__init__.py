"""Families of models: one family, one file, one line in `DECODERS`.

A decoder *must* be a class with

- ``task``: the task it decodes for (a class attribute);
- ``input``: how models of this family are usually fed, used where neither the manifest nor the metadata in the file nor
  the input tensor's quantization says otherwise (a class attribute);
- ``nms``: how overlapping boxes of this family are usually merged, where the manifest says nothing (a class attribute);
- ``recognise(inputs, outputs) -> str | None`` (a static method): the reason in words why a model with these tensors
  is of this family, or None; it *must not* say yes where the shapes leave another reading open;
- ``__init__(layout: Layout)``: finds its outputs by name, shape and dtype and raises `ModelError` when they do not fit;
- ``classes``: how many classes its outputs tell apart, 0 where they do not say; the labels are checked against it;
- ``__call__(tensors) -> Candidates``: a pure function from the raw output arrays, in the order of
  ``layout.outputs``, to candidates; it *must not* keep or return a view of a tensor, and *may* leave out what is below
  ``layout.threshold``.

It *may* have

- ``wants_input``: true where the input is part of the outcome; then ``tensors`` has copies of ``layout.inputs`` behind
  the outputs (a class attribute);
- ``one_origin``: true where all models of the family were trained on the numbers of ``input``; then these hold before
  the range that the input tensor's quantization stands for (a class attribute);
- ``values``: how many numbers a decoder of regressions gives; the manifest's ``values`` are checked against it.

A parameter whose name ends in ``_file`` is the name of a file beside the manifest; what the decoder gets is its path.

Other packages add theirs through the entry point group ``edge_infer.decoders``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from numpy.typing import NDArray

from edge_infer.codec import JsonValue
from edge_infer.config.plan import InputPlan, NmsPlan
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.records import Candidates
from edge_infer.messages import Task
from edge_infer.tables import load, names, target

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


@dataclass(frozen=True, slots=True)
class Layout:
    """What a decoder is built from: the model's tensors, the number of labels (0: unknown), parameters, threshold.

    ``inputs`` is the one that frames go into; of a model of text that is not resolved yet, those beside it, too.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: int
    threshold: float
    options: Mapping[str, JsonValue] = field(default_factory=dict)


class Decoder(Protocol):
    """The contract of a family; see the module's text."""

    task: ClassVar[Task]
    input: ClassVar[InputPlan]
    nms: ClassVar[NmsPlan]
    classes: int

    def __init__(self, layout: Layout) -> None: ...

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates: ...

    @staticmethod
    def recognise(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str | None: ...


def decoder_class(target: str) -> type[Decoder]:
    """The class behind ``module:Class``, as `DecoderPlan.target` names it."""
    found: type[Decoder] = load(target)
    return found


def decoder_target(name: str) -> str:
    """Where the family ``name`` lives; raises `ConfigError` for an unknown one."""
    return target(DECODERS, GROUP, name)


def decoder_names() -> tuple[str, ...]:
    """All families, built in and from other packages."""
    return names(DECODERS, GROUP)
