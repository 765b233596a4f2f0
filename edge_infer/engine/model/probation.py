"""Probation of a new model: checks that it runs, that its outputs depend on its inputs, and that it is fast enough."""

from __future__ import annotations

import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Interpreter, Tensor
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.errors import InputError, ModelError, told
from edge_infer.frames.frame import Captured
from edge_infer.plan.records import ModelPlan

# Detection of outputs that a healthy model may repeat for many different inputs.

SAME: Final = 20
"""Number of different inputs after which bit-identical outputs are suspicious, unless they are `quiet` or `one_class`.

Inputs and outputs are compared in the form with which the model computes: two float inputs are the same if the model
quantizes them to the same bytes.
"""
_REPEATED: Final = f"its outputs were the same, bit by bit, for {SAME} different inputs"
DISTINCT: Final = 4
"""Minimum number of generated inputs that must differ for the model, so that it can be rejected. Up to `SAME` + `FEW`
inputs are generated, but many may be equal for the model, for example if it takes one number as a byte."""
FEW: Final = 4
BYTES: Final = ("int8", "uint8", "bool")


def quiet(tensors: Sequence[NDArray[Any]]) -> bool:
    """Return whether the outputs are bytes and are either at most four or all saturated.

    Saturated means: both the lowest and the highest value occur, and no other.

    Healthy models repeat such outputs. A wake word model returns 0 for everything except the word. A face detector
    returns the same saturated "nothing" in every cell for a whole night. A broken model also repeats its outputs, but
    its outputs rarely have this form.
    """
    if not all(values.dtype.name in BYTES for values in tensors):
        return False
    if sum(values.size for values in tensors) <= FEW:
        return True
    return all(_sure(values) for values in tensors)


def _sure(values: NDArray[Any]) -> bool:
    low, high = (0, 1) if values.dtype == np.bool_ else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    lows, highs = np.count_nonzero(values == low), np.count_nonzero(values == high)
    return bool(lows and highs and lows + highs == values.size)


def one_class(tensors: Sequence[NDArray[Any]]) -> bool:
    """Return whether the outputs are whole numbers that are all equal: a map of one class, such as an empty wall."""
    return all(values.dtype.kind in "iu" and values.size > 0 and values.min() == values.max() for values in tensors)


def _same_everywhere(values: NDArray[Any]) -> bool:
    """Return whether an output is a map with the same numbers in each cell."""
    if one_class([values]):
        return values.size > FEW
    cells = values.reshape(-1, values.shape[-1])
    return len(cells) > 1 and bool((cells == cells[0]).all())


def _is_full(values: NDArray[Any]) -> bool:
    """Return whether a uniform map shows a class other than the first one, the background."""
    if one_class([values]):
        return bool(values.flat[0])
    return bool(values.reshape(-1, values.shape[-1])[0].argmax())


SLOW: Final = 5
"""Number of consecutive frames above the limit that show that a model is slow. A few such frames may be due to other
load."""
LONG: Final = 1.0
"""Seconds above the limit after which fewer consecutive slow frames suffice: five frames of a minute each would take
too long."""
EXTREME: Final = 1e6
"""Magnitude of a number in a float input from which on any model may overflow, so that a failure shows nothing yet. The
number is in the units of the model, after `scale`, `mean` and `std`. A failed frame with such a number, or with memory
of one, counts only if the model also fails with generated inputs."""
ASKED: Final = 4
"""Maximum number of generated inputs on which a doubted model runs in one frame, so that the frame does not count as
hung. A camera may send pictures that differ only in faint noise, to which the outputs of a healthy model may be the
same."""


_CV_NO_MEMORY: Final = -4
"""Code of OpenCV's error when there is no memory, `cv2.Error.StsNoMem`."""


class Trial:
    """Counts and checks the frames of a model on probation. The pipeline's thread writes; another thread reads.

    For each frame: `begin`; for each run of the model `given` and, within `run`, `told`; then `found` and `settle`; at
    last `done` or `failed`. A frame may also fail before `begin`.
    """

    def __init__(self, model: ModelPlan) -> None:
        self.frames = 0
        self.fault = ""
        self.seconds = 0.0
        """Seconds of the runs for the current frame, with the decoding of the outputs. The time for preprocessing is
        not included, because it depends on the frame size, which the source chooses."""
        self.since = 0.0
        """Time at which the current run began, on the monotonic clock; 0 between runs."""
        self.doubted = False
        """Whether the outputs were the same so often that generated inputs have to be tried (`settle`)."""
        self._limit = model.patience()
        self._maps = model.task == "segmentation"
        self._over: list[float] = []
        self._input = 0
        self._output: int | None = None
        self._inputs: set[int] = set()
        self._repeats = False
        self._questions: Iterator[Captured] | None = None
        self._asked: set[int] = set()
        self._settled = False
        self._extreme = False
        """Whether a run of this frame depends on `EXTREME` numbers, in its inputs or in the memory of the model."""
        self._remembered = False
        """Whether the memory of the model may contain `EXTREME` numbers."""
        self._overflowed = False
        """Whether outputs of this frame are not finite, possibly because of `EXTREME` numbers."""
        self._within = False
        """Whether a run for this frame has begun and has not ended without an error."""
        self._sound = False
        """Whether the model ran on generated inputs without a fault, after an `EXTREME` frame failed."""
        self._computed: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None = None

    def begin(self) -> None:
        """Begin a frame."""
        self._end()
        self._repeats = False
        self.seconds = 0.0

    @contextmanager
    def run(self) -> Iterator[None]:
        """Measure the time of a run of the model and of the decoding of its outputs."""
        begun = self.since = time.monotonic()
        self._within = True
        try:
            yield
            self._within = False
        finally:
            self.seconds, self.since = self.seconds + time.monotonic() - begun, 0.0

    def given(self, interpreter: Interpreter, filled: Sequence[int] = (0,)) -> None:
        """Record the inputs of the next run. ``filled``: the positions of those with numbers from the frame."""
        extreme = any(_is_extreme(interpreter.input(position)) for position in filled)
        self._extreme |= extreme or self._remembered
        self._remembered |= extreme and interpreter.remembers
        if not self._settled:
            self._input = self._digest_of_inputs(interpreter)

    def told(self, interpreter: Interpreter, tensors: Sequence[NDArray[Any]]) -> None:
        """Check the outputs of the run; raises `ModelError` if they are not finite.

        For an `EXTREME` frame this method raises nothing; `settle` or `failed` checks the model.
        """
        infinite = _infinite(interpreter, tensors)
        if infinite and not self._extreme:
            raise ModelError(infinite)
        self._overflowed |= bool(infinite)
        if self._settled or infinite:
            return
        output = _digest(interpreter, tensors)
        if output != self._output:
            self._output, self._inputs = output, set()
            self.doubted, self._questions, self._asked = False, None, set()
        self._inputs.add(self._input)
        outputs = tensors[: len(interpreter.outputs)]
        self._repeats = len(self._inputs) >= SAME
        self.doubted |= self._repeats and not self._quiet(outputs) and not (self._maps and one_class(outputs))
        self._repeats &= all(map(_same_everywhere, outputs))
        self.doubted |= self._repeats and any(map(_is_full, outputs))  # threshold and labels may hide the object

    def found(self, findings: Findings) -> None:
        """Doubt a model if its map is the same for many inputs and in each cell, and shows an object.

        The first class of a segmentation is the background, so it is not an object.
        """
        if isinstance(findings, SegmentationFindings):
            shows = any(item.class_id for item in findings.segments)
        else:
            shows = bool(findings.essence)
        self.doubted |= self._repeats and shows

    def settle(self, model: LoadedModel) -> None:
        """Run a doubted model on the generated inputs of its trial until an output differs.

        Raises `ModelError` if all these outputs are the same as well, so the inputs of a source alone cannot make a
        model fail. The runs do not count for the time of the frame. If the model remembers earlier runs, it keeps its
        memory during these runs, because the memory may be the fault; memory that `EXTREME` numbers may have filled is
        cleared first. If an output differs, the memory is cleared, as at a gap.

        If outputs of an `EXTREME` frame are not finite, instead raise any error of the model for generated inputs.
        """
        if self._overflowed:
            self._examine(model)
            return
        if not self.doubted or self._settled:
            return
        if self._remembered:
            self._forget(model)
        if self._questions is None:
            self._questions = varied(model, SAME + FEW)
        seconds, asked = self.seconds, 0
        for frame in islice(self._questions, ASKED):
            asked += 1
            if self._differs(model, frame):
                self._settled, self._questions = True, None
                self._forget(model)
                break
        self.seconds = seconds
        used_up = asked < ASKED
        if not self._settled and (len(self._asked) >= SAME or (used_up and len(self._asked) >= DISTINCT)):
            self._extreme = False  # the generated inputs have decided
            raise ModelError(_REPEATED)

    def _examine(self, model: LoadedModel) -> None:
        """Raise any error of the model for the first generated inputs. Its trial before had no error for these inputs.

        The memory of the model is cleared, as at a gap, because with it the model could also fail for later frames.
        Therefore one examination suffices.
        """
        self._extreme = False  # an error is now the model's own
        self._forget(model)
        if self._sound:
            return
        seconds = self.seconds
        for frame in varied(model, ASKED):
            with model.lent:
                model.feed(model.parts(frame)[0])
                with self.run():
                    self._look(model)
        self.seconds, self._sound = seconds, True
        self._forget(model)

    def _look(self, model: LoadedModel) -> None:
        tensors = model.interpreter.invoke()
        if infinite := _infinite(model.interpreter, tensors):
            raise ModelError(infinite)
        model.decode(tensors)

    def _forget(self, model: LoadedModel) -> None:
        self._remembered = False
        if model.interpreter.remembers:  # then no other pipeline shares it
            model.interpreter.forget()

    def _differs(self, model: LoadedModel, frame: Captured) -> bool:
        with model.lent:
            model.feed(model.parts(frame)[0])
            self._asked.add(self._digest_of_inputs(model.interpreter))
            with self.run():
                return _digest(model.interpreter, model.interpreter.invoke()) != self._output

    def _digest_of_inputs(self, interpreter: Interpreter) -> int:
        if self._computed is None:
            self._computed = interpreter.computed()
        found = 0
        for position, tensor in enumerate(self._computed[0]):
            found = zlib.crc32(_bytes(_stored(interpreter.input(position), tensor)), found)
        return found

    def _quiet(self, outputs: Sequence[NDArray[Any]]) -> bool:
        assert self._computed is not None
        return quiet([_stored(values, tensor) for values, tensor in zip(outputs, self._computed[1], strict=True)])

    def done(self, seconds: float) -> None:
        """Record that a frame became an outcome, and the seconds of its runs.

        A frame that overflowed because of `EXTREME` numbers does not count.
        """
        overflowed = self._overflowed
        self._end()
        if overflowed:
            return
        self.frames += 1
        self._over = [*self._over, seconds] if seconds > self._limit else []
        if len(self._over) >= SLOW or sum(self._over) >= self._limit + LONG:
            worst = max(self._over)
            self._blame(f"a frame took {worst:.3g} s, longer than the limit of {self._limit:.3g} s")

    def failed(self, error: Exception, model: LoadedModel) -> None:
        """Record that a frame failed. The failure counts against the model unless the source may be the cause.

        For an `EXTREME` frame, the model then runs on generated inputs, and only an error of these runs counts. An
        input that does not fit, or for which there is no memory, counts only before the first good frame, because a new
        manifest may not fit its source.
        """
        found: Exception | None = error
        if self._extreme:
            found = self._examined(model)
        if found is not None and not (self.frames and not self._within and _from_source(found)):
            self._blame(told(found))
        self._end()

    def _examined(self, model: LoadedModel) -> Exception | None:
        """Return any error of the model for generated inputs."""
        self._within = False
        try:
            self._examine(model)
        except Exception as error:  # noqa: BLE001 - whatever a plug-in throws
            traceback.clear_frames(error.__traceback__)  # the frames may hold a tensor
            return error
        return None

    def _end(self) -> None:
        self._extreme = self._overflowed = self._within = False

    def _blame(self, text: str) -> None:
        """Record a fault; only the first fault is kept."""
        self.fault = self.fault or text[:400]


def _digest(interpreter: Interpreter, tensors: Sequence[NDArray[Any]]) -> int:
    output = 0
    for _, values in zip(interpreter.outputs, tensors, strict=False):  # copies of inputs may follow
        output = zlib.crc32(_bytes(values), output)
    return output


def _infinite(interpreter: Interpreter, tensors: Sequence[NDArray[Any]]) -> str:
    """Return the error text for outputs that are not finite; an empty text if all are finite."""
    for tensor, values in zip(interpreter.outputs, tensors, strict=False):  # copies of inputs may follow
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"its output {tensor.name} has values that are not finite"
    return ""


def _is_extreme(values: NDArray[Any]) -> bool:
    """Return whether an input has a float of the magnitude `EXTREME`, or NaN.

    Preprocessing may make NaN of such numbers. The largest number of a smaller type also counts, because larger numbers
    are clipped to it.
    """
    if values.dtype.kind != "f" or not values.size:
        return False
    limit = min(EXTREME, float(np.finfo(values.dtype).max))
    return not (float(values.min()) > -limit and float(values.max()) < limit)


def _from_source(error: Exception) -> bool:
    """Return whether an error outside of the model's runs may be due to what the source delivers."""
    lacking = type(error).__module__ == "cv2" and getattr(error, "code", 0) == _CV_NO_MEMORY
    return lacking or isinstance(error, (InputError, MemoryError))


def _stored(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return floats as the integers with which the model computes; return other values unchanged."""
    if values.dtype.name == tensor.dtype or values.dtype.kind != "f":
        return values
    stored = np.empty(values.shape, tensor.dtype)
    with np.errstate(invalid="ignore"):  # NaN becomes an arbitrary integer
        tensor.store(values, stored)
    return stored


def _bytes(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).data
