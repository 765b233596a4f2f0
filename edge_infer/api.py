"""Python API to run one model: ``from edge_infer import load``."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.messages import MAX_MESSAGE_BYTES, MIN_PAYLOAD_BYTES, Result, Task
from edge_infer.engine.input.files import FileFindings, find_in_file
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.output.outcome import Composer
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Frame, Line, Samples
from edge_infer.models.packages.labels import check_labels
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.plugins import decoder_names
from edge_infer.plan.records import Color, ModelPlan, PipelinePlan, SignalPlan, TextPlan
from edge_infer.platform.closing import Closing

MAX_THREADS: Final = 64
"""The same limit as in the configuration: with thousands of threads the runtime ends the process."""

Taken = str | os.PathLike[str] | NDArray[Any] | Any
"""Input of a model: a file, a text, a picture (an array or a Pillow image) or samples."""
COLORS: Final[tuple[str, ...]] = get_args(Color)


def load(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    threshold: float | None = None,
    task: Task | None = None,
    decoder: str | None = None,
    threads: int = 1,
    max_payload: int = MAX_MESSAGE_BYTES,
) -> Model:
    """Load a model from a ``.tflite`` file or a package folder; raises `ModelError`, also for a wrong argument.

    The model is first tried in a separate process. The arguments take precedence over its manifest. ``labels`` is a
    file with one label per line, or the labels themselves. ``max_payload`` is the maximum size of a result in bytes, at
    least 512. The field ``more`` of a result is the number of items that did not fit.
    """
    _check_choice("task", task, get_args(Task))
    _check_choice("decoder", decoder, decoder_names())
    threads = _whole_number("threads", threads, 1, MAX_THREADS)
    max_payload = _whole_number("max_payload", max_payload, MIN_PAYLOAD_BYTES)
    file = Path(path).absolute()
    given, place = None, None
    if isinstance(labels, (str, os.PathLike)):
        place = str(Path(labels).absolute())
    elif labels is not None:
        given = _label_list(labels)
    request = ModelRequest(
        file.stem,
        str(file),
        labels=given,
        labels_file=place,
        threshold=_threshold(threshold),
        task=task,
        decoder=decoder,
    )
    plan = probe(request)
    return Model(plan, threads=threads, max_payload=max_payload)


class Model(Closing):
    """A loaded model for use by one thread. `close`, or the end of a ``with`` block, releases it."""

    def __init__(self, plan: ModelPlan, *, threads: int = 1, max_payload: int = MAX_MESSAGE_BYTES) -> None:
        self.plan = plan
        pipeline = PipelinePlan("python", "python", plan, plan.threshold, threads=threads, max_payload=max_payload)
        self._compose = Composer(pipeline, secrets.token_hex(3))
        self._number = 0
        self._closed = False
        self._model = LoadedModel(pipeline).__enter__()

    def close(self) -> None:
        """Release the model; may be called twice."""
        self._closed = True
        self._model.close()

    def __call__(self, taken: Taken, *, color: Color | None = None, rate: float | None = None) -> Result:
        """Run the model on one input and return the record that ``edge-infer infer`` prints. Raises `InputError`.

        The type of ``taken`` depends on the kind of model:

        - Pictures: a file, a Pillow image (its mode gives the colour order), or a uint8 array, which is
          ``[height, width]`` (gray) or ``[height, width, 3]`` (``color``: bgr, as in OpenCV, or rgb).
        - Sound and samples: a file, or numbers ``[n]`` or ``[n, channels]`` at ``rate`` samples a second (default: the
          rate of the model). Full scale of sound is 1 for floats; for integers it is the maximum of their type.
        - Text: the text.
        """
        self._check_open()
        signal = isinstance(self.plan.input, SignalPlan)
        if rate is not None and not signal:
            raise InputError("rate= is for sound and samples; this model takes another input")
        if rate is not None and not _is_rate(rate):
            raise InputError(f"rate={rate!r} is not allowed; expected samples a second, a number above 0")
        if color is not None and (signal or isinstance(self.plan.input, TextPlan)):
            raise InputError("color= is for pictures; this model takes another input")
        if isinstance(self.plan.input, TextPlan):
            return self._result(self._text(taken))
        if isinstance(taken, (str, os.PathLike)):
            return next(self.each(taken))
        if isinstance(self.plan.input, SignalPlan):
            return self._result(
                self._samples(_array(taken, "signal; expected a file or numbers"), self.plan.input, rate)
            )
        return self._result(self._picture(*_pixels(taken, color)))

    def each(self, path: str | os.PathLike[str]) -> Iterator[Result]:
        """Yield one result for a file; for text, one for each line that is not blank. Raises `InputError`."""
        self._check_open()
        for found in find_in_file(self._model, self.plan.input, os.fspath(path)):
            yield self._result(found)

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError("this model is closed; load it again")

    def _picture(self, pixels: NDArray[Any], color: Color | None) -> FileFindings:
        gray = pixels.ndim == 2
        if pixels.dtype != np.uint8 or not (gray or pixels.shape[2:] == (3,)) or not pixels.size:
            raise InputError(
                f"an array {list(pixels.shape)} of {pixels.dtype} is not a picture; expected [height, width, 3] or "
                "[height, width] of uint8"
            )
        order: Color = color or ("gray" if gray else "bgr")
        if (order == "gray") != gray:
            raise InputError(f"color={order!r} does not fit an array {list(pixels.shape)}")
        frame = Frame(pixels, order, time.time(), time.monotonic(), self._number + 1)
        return FileFindings("picture", self._model.find(frame), frame)

    def _samples(self, values: NDArray[Any], plan: SignalPlan, rate: float | None) -> FileFindings:
        from edge_infer.engine.input.recording import find_in_recording, real_values

        if values.ndim not in (1, 2) or values.dtype.kind not in "iuf" or not values.size:
            raise InputError(
                f"an array {list(values.shape)} of {values.dtype} is not a signal; expected numbers [n] or [n, "
                "channels]"
            )
        stretch = real_values(values.reshape(len(values), -1), plan)
        samples = Samples(
            stretch, float(rate or plan.rate or 1.0), time.time(), time.monotonic(), self._number + 1, gap=True
        )
        return FileFindings("samples", *find_in_recording(self._model, [samples], "samples"))

    def _text(self, taken: Taken) -> FileFindings:
        if not isinstance(taken, str):
            raise InputError("this model takes text: pass a str, or pass a file of texts to `each`")
        line = Line(taken, time.time(), time.monotonic(), self._number + 1)
        return FileFindings("text", self._model.find(line), line)

    def _result(self, found: FileFindings) -> Result:
        self._number += 1
        return self._compose(found.findings, found.frame, time.monotonic()).result(self._number)


def _label_list(labels: Any) -> tuple[str, ...]:
    """Return the labels as a tuple; raises `ModelError` for an invalid label, and for a set, which has no order."""
    found = () if isinstance(labels, (bytes, set, frozenset)) or not isinstance(labels, Iterable) else tuple(labels)
    if not found or not all(isinstance(label, str) for label in found):
        raise ModelError(f"labels={labels!r} is not allowed; expected a list of str, or a file with one on each line")
    return check_labels(found, "labels")


def _threshold(said: Any) -> float | None:
    """Return the threshold as a float; raises `ModelError` unless it is a number of 0 or more.

    The task decides whether it may be more than 1.
    """
    if said is None:
        return None
    if not isinstance(said, bool) and isinstance(said, Real) and 0.0 <= float(said) < math.inf:
        return float(said)
    raise ModelError(f"threshold={said!r} is not allowed; expected a number of 0 or more", key="threshold")


def _check_choice(name: str, said: Any, known: Sequence[str]) -> None:
    """Raise `ModelError` unless the argument is None or one of the ``known`` words."""
    if said is not None and not (isinstance(said, str) and said in known):
        raise ModelError(f"{name}={said!r} is not allowed; expected one of {', '.join(known)}")


def _whole_number(name: str, said: Any, least: int, most: int | None = None) -> int:
    """Return the argument as an int; raises `ModelError` unless it is a whole number from ``least`` to ``most``.

    The conversion is needed because the runtime does not accept NumPy numbers.
    """
    if isinstance(said, bool) or not isinstance(said, Integral) or not least <= int(said) <= (most or int(said)):
        limits = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise ModelError(f"{name}={said!r} is not allowed; expected a whole number, {limits}")
    return int(said)


def _is_rate(rate: Any) -> bool:
    return isinstance(rate, Real) and rate is not True and 0.0 < float(rate) < math.inf


def _pixels(taken: Any, color: Color | None) -> tuple[NDArray[Any], Color | None]:
    """Return a picture's array and colour order; raises `InputError` for an order that is unknown or does not fit."""
    if color is not None and color not in COLORS:
        raise InputError(f"color={color!r} is not allowed; expected one of {', '.join(COLORS)}")
    if not (hasattr(taken, "getbands") and hasattr(taken, "convert")):
        return _array(taken, "picture; expected a file, an array [height, width, 3] or one of Pillow"), color
    gray = len(taken.getbands()) == 1 and taken.mode != "P"
    own: Color = "gray" if gray else "rgb"
    if color not in (None, own):
        raise InputError(f"color={color!r} does not fit this picture of Pillow; its order is {own}")
    return _upright(taken, gray=gray), own


def _upright(picture: Any, *, gray: bool) -> NDArray[Any]:
    """Return the pixels of a Pillow image as the file readers do: upright, with the upper 8 bits of 16-bit values.

    Pillow does not apply the EXIF orientation itself, and it clips 16-bit values at 255 instead of scaling them.
    """
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "CMYK":
        return _printed(np.asarray(picture))
    if not picture.mode.startswith("I"):
        return np.asarray(picture.convert("L" if gray else "RGB"))
    values = np.asarray(picture)
    if values.min(initial=0) < 0 or values.max(initial=0) >= 1 << 16:
        raise InputError("this picture of Pillow has values beyond 16 bits; convert it to mode L or I;16 first")
    return (values >> 8).astype(np.uint8)


def _printed(inks: NDArray[Any]) -> NDArray[Any]:
    """Return red, green, blue for cyan, magenta, yellow and black, as OpenCV computes them for a file.

    Pillow rounds differently.
    """
    light = 255 - inks.astype(np.int32)
    black = light[..., 3:]
    return (black - ((255 - light[..., :3]) * black >> 8)).astype(np.uint8)


def _array(taken: Any, expected: str) -> NDArray[Any]:
    """Return the input as an array; raises `InputError` for a scalar, which NumPy would turn into a 0-d array."""
    found = np.asarray(taken)
    if not found.ndim:
        raise InputError(f"{type(taken).__name__} is not a {expected}")
    return found
