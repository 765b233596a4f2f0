"""Decides how a frame becomes the model's input tensor, and records the source of each setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.encoding import customary_range, encoding
from edge_infer.engine.preprocess.shape import image_shape
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import InputSection
from edge_infer.models.request import Reason
from edge_infer.models.resolve.decoder_choice import Family
from edge_infer.models.tflite.metadata import Metadata, Normalization
from edge_infer.plan.records import Color, InputPlan, ModelInput, Resize


@dataclass(frozen=True, slots=True)
class Feeding:
    """The chosen input plan, the reasons for its parts, and notes for the operator."""

    plan: ModelInput
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()


def choose_feeding(said: InputSection, metadata: Metadata, tensor: Tensor, family: Family) -> Feeding:
    """Choose the input plan of a picture model.

    The sources are, in this order: manifest, metadata, tensor, default of the decoder family. Raises `ModelError` if no
    source decides.
    """
    channels = image_shape(tensor)[2]
    if len(tensor.shape) == 3 and said.color is None:
        raise ModelError(
            f"its input {tensor.name} {list(tensor.shape)} may be a gray picture or a signal; set it in the manifest: "
            "input: {color: gray}, or input: {features: …}"
        )
    color, color_why = _color(said, metadata, channels, family)
    resize, resize_why = _resize(said, metadata, family)
    normalization, why = _normalization(said, metadata, tensor, family)
    mean, std = (normalization.mean, normalization.std) if normalization else (None, None)
    plan = InputPlan(color, resize, mean, std, family.decoder.input.border)
    reasons = (
        Reason("colour", color, color_why),
        Reason("resize", resize, resize_why),
        Reason("values", _in_words(encoding(plan, tensor, channels)), why),
    )
    return Feeding(plan, reasons, _disagreement(said, metadata, tensor))


def _in_words(table: NDArray[Any]) -> str:
    """Describe the stored values for dark, middle and bright pixels; ``table`` is the result of `encoding`."""
    shown = table[:, 0] if (table == table[:, :1]).all() else table
    pairs = ", ".join(f"{brightness} to {_number(shown[brightness])}" for brightness in (0, 128, 255))
    return f"brightness {pairs} ({table.dtype})"


def _number(stored: Any) -> str:
    values = stored.tolist()
    return (
        f"{values:.4g}" if not isinstance(values, list) else "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
    )


def _color(said: InputSection, metadata: Metadata, channels: int, family: Family) -> tuple[Color, str]:
    color, why = _wanted_color(said, metadata, channels, family)
    if (color == "gray") != (channels == 1):
        right = "gray" if channels == 1 else "rgb or bgr"
        raise ModelError(f"its input has {channels} colour channels, so {color} ({why}) does not fit; expected {right}")
    return color, why


def _wanted_color(said: InputSection, metadata: Metadata, channels: int, family: Family) -> tuple[Color, str]:
    if said.color is not None:
        return said.color, "manifest"
    if metadata.color is not None:
        return metadata.color, "metadata in the file"
    if channels == 1:
        return "gray", "the input has one channel"
    return family.decoder.input.color, f"as {family.name} models usually are"


def _resize(said: InputSection, metadata: Metadata, family: Family) -> tuple[Resize, str]:
    if said.resize is not None:
        return said.resize, "manifest"
    if metadata.ultralytics and family.task in ("detection", "pose"):
        return "letterbox", f"metadata in the file: Ultralytics letterboxes for {family.task}"
    return family.decoder.input.resize, f"as {family.name} models usually are"


def _normalization(
    said: InputSection, metadata: Metadata, tensor: Tensor, family: Family
) -> tuple[Normalization | None, str]:
    if said.mean is not None or said.std is not None:
        return Normalization(said.mean or (0.0,), said.std or (1.0,)), "manifest"
    usual, span = family.decoder.input, customary_range(tensor)
    if usual.mean is not None and usual.std is not None and getattr(family.decoder, "one_origin", False):
        return Normalization(usual.mean, usual.std), f"as all {family.name} models were trained"
    if span is not None:
        return None, f"the input's quantization stands for {span[0]:g}..{span[1]:g}"
    if tensor.dtype == "uint8" and not tensor.quantized:
        return None, "the input is uint8 without quantization parameters"
    if metadata.normalization:
        return metadata.normalization, "metadata in the file"
    if metadata.ultralytics:
        return Normalization((0.0,), (255.0,)), "metadata in the file: Ultralytics models take 0..1"
    if usual.mean is not None and usual.std is not None:
        return Normalization(usual.mean, usual.std), f"as {family.name} models usually are"
    return None, "nobody says"  # the engine would reject a tensor of unknown range


def _disagreement(said: InputSection, metadata: Metadata, tensor: Tensor) -> tuple[str, ...]:
    """Return a note if the metadata's normalization and the tensor's quantization imply different ranges."""
    found, span = metadata.normalization, customary_range(tensor)
    if said.mean is not None or found is None or span is None:
        return ()
    ends = (0 - found.mean[0]) / found.std[0], (255 - found.mean[0]) / found.std[0]
    if max(abs(ends[0] - span[0]), abs(ends[1] - span[1])) <= (span[1] - span[0]) / 50:
        return ()
    written, holds = f"{ends[0]:.3g}..{ends[1]:.3g}", f"{span[0]:g}..{span[1]:g}"
    return (f"the metadata makes brightness {written}, but the quantized input stands for {holds}, which is used",)
