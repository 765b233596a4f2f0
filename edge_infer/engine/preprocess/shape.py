"""Shapes of image tensors: channels last, ``[1, height, width, channels]``, or channels first (NCHW).

``[1, height, width]``, for gray pictures, also counts as an image if a manifest declares it a picture.
"""

from __future__ import annotations

from typing import Final

from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError

CHANNELS: Final = (1, 3)


def image_shape(tensor: Tensor) -> tuple[int, int, int]:
    """Return height, width and channels of an image input; raise `ModelError` for any other tensor."""
    shape = tensor.shape
    if len(shape) == 4 and shape[0] == 1 and min(shape) > 0:
        if shape[1:3] == (1, 1) and shape[3] in CHANNELS:
            raise ModelError(
                f"its input {tensor.name} has the shape {list(shape)}, a picture of one pixel; if the export left "
                "height and width open, set them in the manifest: `input: {size: 256x256}`"
            )
        if shape[3] in CHANNELS:
            return shape[1], shape[2], shape[3]
        if shape[1] in CHANNELS:
            return shape[2], shape[3], shape[1]
    if len(shape) == 3 and shape[0] == 1 and min(shape) > 0:
        return shape[1], shape[2], 1
    hint = ""
    if len(shape) == 4 and shape[3] in CHANNELS:
        hint = f"; this one takes {shape[0]} pictures at once: convert the model for a batch of 1"
    raise ModelError(
        f"its input {tensor.name} has the shape {list(shape)}; a picture needs [1, height, width, 1 or 3] or "
        f"[1, 1 or 3, height, width]{hint}. If it does not take pictures, set that in a manifest: input: "
        "{features: …} for sound and samples, {tokenizer: …} for text"
    )


def channels_first(tensor: Tensor) -> bool:
    """Return whether an image input is ``[1, channels, height, width]``."""
    return len(tensor.shape) == 4 and tensor.shape[3] not in CHANNELS and tensor.shape[1] in CHANNELS


def image_size(inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """Return width and height of the only image input. Return (0, 0) if the inputs are anything else."""
    if len(inputs) != 1:
        return 0, 0
    try:
        height, width, _ = image_shape(inputs[0])
    except ModelError:
        return 0, 0
    return width, height
