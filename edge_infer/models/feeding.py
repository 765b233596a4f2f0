"""How frames become the input tensor of a model, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_infer.config.plan import Color, InputPlan, Resize
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from edge_infer.models.family import Family
from edge_infer.models.manifest import InputSection
from edge_infer.models.metadata import Metadata, Normalization
from edge_infer.models.resolution import Reason

CHANNELS: Final = {"rgb": 3, "bgr": 3, "gray": 1}
_RANGES: Final = {"uint8": (0, 255), "int8": (-128, 127)}


@dataclass(frozen=True, slots=True)
class Feeding:
    """The decision, and the reasons for its parts."""

    plan: InputPlan
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()


def choose_feeding(said: InputSection, metadata: Metadata, tensor: Tensor, family: Family) -> Feeding:
    """Manifest before metadata before the tensor before the family's habit; raises `ModelError` where nobody says."""
    color, color_why = _color(said, metadata, tensor, family)
    resize, resize_why = _resize(said, metadata, family)
    normalization, why = _normalization(said, metadata, tensor, family)
    mean, std = (normalization.mean, normalization.std) if normalization else (None, None)
    plan = InputPlan(color, resize, mean, std, family.decoder.input.border)
    reasons = (
        Reason("colour", color, color_why),
        Reason("resize", resize, resize_why),
        Reason("values", in_words(plan, tensor), why),
    )
    return Feeding(plan, reasons, _disagreement(said, metadata, tensor))


def in_words(plan: InputPlan, tensor: Tensor) -> str:
    """What becomes of a pixel, for people."""
    steps = []
    if plan.mean is not None and plan.std is not None:
        steps.append(f"(pixel - {_numbers(plan.mean)}) / {_numbers(plan.std)}")
    if tensor.quantized and steps:
        zero = tensor.zero_point[0]
        steps.append(f"divided by {tensor.scale[0]:.6g}, {'plus' if zero >= 0 else 'minus'} {abs(zero)}")
    elif tensor.dtype == "int8":
        steps.append("pixel - 128")
    elif not steps:
        steps.append("pixels as they are")
    return ", ".join((*steps, f"as {tensor.dtype}"))


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values) if len(values) == 1 else str([*values])


def _color(said: InputSection, metadata: Metadata, tensor: Tensor, family: Family) -> tuple[Color, str]:
    channels = tensor.shape[3] if len(tensor.shape) == 4 else 0
    color, why = said.color, "manifest"
    if color is None and metadata.color in ("rgb", "gray"):
        color, why = ("gray" if metadata.color == "gray" else "rgb"), "metadata in the file"
    if color is None and channels == 1:
        color, why = "gray", "the input has one channel"
    if color is None:
        color, why = family.decoder.input.color, f"as {family.name} models usually are"
    if channels != CHANNELS[color]:
        raise ModelError(
            f"input colour {color} ({why}) has {CHANNELS[color]} channels, but the input tensor is "
            f"{'x'.join(map(str, tensor.shape))}"
        )
    return color, why


def _resize(said: InputSection, metadata: Metadata, family: Family) -> tuple[Resize, str]:
    if said.resize is not None:
        return said.resize, "manifest"
    if metadata.ultralytics and family.task == "detection":
        return "letterbox", "metadata in the file: Ultralytics letterboxes for detection"
    return family.decoder.input.resize, f"as {family.name} models usually are"


def _normalization(
    said: InputSection, metadata: Metadata, tensor: Tensor, family: Family
) -> tuple[Normalization | None, str]:
    if said.mean is not None or said.std is not None:
        return _fits(Normalization(said.mean or (0.0,), said.std or (1.0,)), tensor, "manifest"), "manifest"
    if tensor.dtype in _RANGES:
        if tensor.quantized:
            return None, f"the input's quantization: its {tensor.dtype} values stand for {_span(tensor)}"
        return None, "the input has no quantization parameters, so it takes pixels"
    if metadata.normalization:
        return _fits(metadata.normalization, tensor, "metadata in the file"), "metadata in the file"
    if metadata.ultralytics:
        return Normalization((0.0,), (255.0,)), "metadata in the file: Ultralytics models take 0..1"
    usual = family.decoder.input
    if usual.mean is not None and usual.std is not None:
        return Normalization(usual.mean, usual.std), f"as {family.name} models usually are"
    raise ModelError(
        f"its input is {tensor.dtype} and nothing says how pixels become numbers: write a manifest beside the file "
        "with input: {mean: 127.5, std: 127.5} for values of -1..1, or {mean: 0, std: 255} for 0..1"
    )


def _fits(found: Normalization, tensor: Tensor, why: str) -> Normalization:
    channels = tensor.shape[-1] if tensor.shape else 1
    for name, values in (("mean", found.mean), ("std", found.std)):
        if len(values) not in (1, channels):
            raise ModelError(f"input.{name} ({why}) has {len(values)} numbers for {channels} colour channels")
    return found


def _span(tensor: Tensor) -> str:
    low, high = (tensor.scale[0] * (end - tensor.zero_point[0]) for end in _RANGES[tensor.dtype])
    return f"{low:.3g}..{high:.3g}"


def _disagreement(said: InputSection, metadata: Metadata, tensor: Tensor) -> tuple[str, ...]:
    """A note when the metadata's normalization and the tensor's quantization mean different numbers."""
    found = metadata.normalization
    if said.mean is not None or found is None or not tensor.quantized or tensor.dtype not in _RANGES:
        return ()
    low, high = (tensor.scale[0] * (end - tensor.zero_point[0]) for end in _RANGES[tensor.dtype])
    ends = (0 - found.mean[0]) / found.std[0], (255 - found.mean[0]) / found.std[0]
    if max(abs(ends[0] - low), abs(ends[1] - high)) <= (high - low) / 50:
        return ()
    written, holds = f"{ends[0]:.3g}..{ends[1]:.3g}", f"{low:.3g}..{high:.3g}"
    return (f"the metadata makes pixels {written}, but the quantized input stands for {holds}; the quantization holds",)
