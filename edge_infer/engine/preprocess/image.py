"""Preprocessing of images: scaling, colour order and quantization, in this order, written into the tensor in place.

The colour order is converted after scaling. Measured: converting a 1080p frame before scaling takes longer than all
other steps.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.encoding import encoding
from edge_infer.engine.preprocess.scale import scaler
from edge_infer.engine.preprocess.shape import channels_first, image_shape
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.geometry import Region, Transform
from edge_infer.plan.records import Color, InputPlan

Values: TypeAlias = NDArray[Any]
CONVERSIONS: Final = {
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}
EXAMPLE: Final = (64, 48)
"""Width and height of the example picture for warming up a model."""
_LUT_TYPES: Final = ("uint8", "int8", "int16", "float32")
"""Types that ``cv2.LUT`` can write. NumPy's ``take`` writes the other types, in two to three times the time."""


class ImagePreprocess:
    """Preprocessing that fills the input tensor with a frame; only one thread may use it, because it keeps buffers."""

    def __init__(self, plan: InputPlan, tensor: Tensor) -> None:
        """Prepare the tables.

        Raises `ModelError` unless the tensor is an image, channels last or first, with a known range.
        """
        height, width, channels = image_shape(tensor)
        if plan.color == "gray" and channels != 1:
            raise ModelError(
                f"its input {tensor.name} has {channels} colour channels, but the manifest sets `color: gray`; "
                "expected rgb or bgr"
            )
        self._plan = plan
        self._size = (width, height)
        self._color: Color = "gray" if channels == 1 else plan.color
        self._table = encoding(plan, tensor, channels)
        self._store = _Store(self._table)
        self._border = self._table[plan.border]
        # Channels first: OpenCV produces channels last, so the picture is transposed at the end.
        turned = channels_first(tensor)
        self._upright: Values | None = np.empty((1, height, width, channels), self._table.dtype) if turned else None
        self._format: tuple[tuple[int, int], Color] | None = None
        self._asked: tuple[tuple[int, ...], Region | None, Color] | None = None
        self._transform: Transform

    def frames(self, taken: Frame) -> tuple[Frame, ...]:
        """Return the picture as the only input."""
        return (taken,)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the model's picture."""
        return self._size

    def example(self) -> Frame:
        """Return a gray picture."""
        width, height = EXAMPLE
        return Frame(np.full((height, width, 3), 128, np.uint8), "bgr", 0.0, 0.0, 1)

    def __call__(self, frame: Frame, into: Values) -> Transform:
        """Fill ``into``, a view of the whole input tensor.

        Return the transform from fractions of the tensor back to the frame.
        """
        fit = self._fit(frame)
        whole = into.reshape(*into.shape[:3], -1) if self._upright is None else self._upright
        area = whole[0, fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
        if self._color == "gray":
            area = area[:, :, 0]
        self._scale_and_convert(fit.region.of(frame.pixels), area)
        self._fill_border(whole[0], fit)
        if self._upright is not None:
            into[0] = self._upright[0].transpose(2, 0, 1)
        return fit

    def _fit(self, frame: Frame) -> Transform:
        """Return the transform of the frame; it is recomputed only when the size or the region changes."""
        asked = (frame.pixels.shape, frame.region, frame.color)
        if asked != self._asked:
            self._transform = Transform.fit(frame.size, self._size, self._plan.resize, frame.region)
            if (self._transform.region.size, frame.color) != self._format:
                self._prepare(frame, self._transform)
            self._asked = asked
        return self._transform

    def _prepare(self, frame: Frame, fit: Transform) -> None:
        """Allocate the buffers for the first frame or for a new size."""
        size = (fit.width, fit.height)
        channels = 1 if frame.pixels.ndim == 2 else frame.pixels.shape[2]
        self._scaler = scaler(self._plan.scaling, fit.region.size, size, channels)
        self._small: Pixels = np.empty((size[1], size[0], *frame.pixels.shape[2:]), np.uint8)
        self._conversion = CONVERSIONS.get((frame.color, self._color))
        gray = self._color == "gray"
        self._colored: Pixels = np.empty((size[1], size[0]) if gray else (size[1], size[0], 3), np.uint8)
        self._format = (fit.region.size, frame.color)

    def _scale_and_convert(self, pixels: Pixels, area: Values) -> None:
        """Scale and convert. The last step that needs a buffer writes directly into the tensor."""
        raw = self._store.raw(area)
        colored = self._colored if raw is None else raw
        if self._conversion is None:
            self._scaler(pixels, colored)
        else:
            self._scaler(pixels, self._small)
            cv2.cvtColor(self._small, self._conversion, dst=colored)
        self._store(colored, area)

    def _fill_border(self, picture: Values, fit: Transform) -> None:
        """Fill the bars beside the picture on every call: a runtime may overwrite its input."""
        if (fit.width, fit.height) != self._size:
            picture[: fit.top] = self._border
            picture[fit.top + fit.height :] = self._border
            picture[:, : fit.left] = self._border
            picture[:, fit.left + fit.width :] = self._border


class _Store:
    """Writes brightness into a tensor by a table ``[256, channels]`` of stored values, the fastest exact way."""

    def __init__(self, table: Values) -> None:
        same = bool((table == table[:, :1]).all())
        self._table = np.ascontiguousarray(table[:, 0] if same else table)
        every = np.arange(256)
        self._as_it_is = same and table.dtype == np.uint8 and bool((table[:, 0] == every).all())
        self._minus_128 = same and table.dtype == np.int8 and bool((table[:, 0] == every - 128).all())

    def raw(self, area: Values) -> Pixels | None:
        """Return the area as bytes if brightness can be converted to stored values in place, otherwise None."""
        return area.view(np.uint8) if self._as_it_is or self._minus_128 else None

    def __call__(self, colored: Pixels, area: Values) -> None:
        """Store ``colored``. If `raw` returned an array, ``colored`` is that array."""
        if self._as_it_is:
            return
        if self._minus_128:
            np.bitwise_xor(colored, 128, out=colored)
        elif area.dtype.name not in _LUT_TYPES:
            self._take(colored, area)
        else:
            table = self._table if self._table.ndim == 1 else self._table[np.newaxis]
            cv2.LUT(colored, table, dst=area)

    def _take(self, colored: Pixels, area: Values) -> None:
        if self._table.ndim == 1:
            np.take(self._table, colored, out=area, mode="clip")
            return
        for channel in range(self._table.shape[1]):
            area[..., channel] = self._table[colored[..., channel], channel]
