"""Reads a recorded signal from a file, block by block: ``.wav``, ``.csv`` and ``.npy``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.engine.records import Candidates, Classes, Distance, Numbers
from edge_infer.engine.tasks import Findings
from edge_infer.errors import InputError, ModelError, SourceError
from edge_infer.frames.frame import Captured, Samples
from edge_infer.plan.records import SignalPlan, SourcePlan
from edge_infer.readers.sources import Block, make_source, source_target
from edge_infer.readers.sources.faults import settling

STRETCH: Final = 1 << 15
"""Number of samples per block."""
SOUND: Final = ("waveform", "mfcc", "log_mel", "micro")
"""Features of sound; the other kinds, ``raw`` and ``spectrum``, suit any sensor."""
WIDEST: Final = 4
"""Size in bytes of the largest integer type that counts as sound.

NumPy stores plain numbers in wider types, and the range of such a type is not the full scale of a sound.
"""


def read_recording(path: str, plan: SignalPlan, name: str = "") -> Iterator[Samples]:
    """Yield the blocks of samples of a file, in order; raises `InputError` with a text that begins with the path.

    The extension of ``name``, or else of the path, determines the format. A WAV file states its sample rate. Other
    files are assumed to have the rate of the model.
    """
    rate, kind = plan.rate or 1.0, Path(name or path).suffix.lower()
    if kind == ".npy":
        return _array(path, plan)
    if kind in (".wav", ".csv"):
        return _through(_source_plan(path, kind, rate), path)
    raise InputError(
        f"{path}: the model takes a signal; use a .wav, .csv or .npy file (to convert other sound: ffmpeg -i {path} "
        "-c:a pcm_s16le NEW.wav)"
    )


def _source_plan(path: str, kind: str, rate: float) -> SourcePlan:
    """Return a source plan with which the daemon, too, would read such a file."""
    name = {".wav": "audio", ".csv": "csv"}[kind]
    options: dict[str, str | float | bool] = {"file": path, "realtime": False}
    if kind == ".csv":
        options["rate"] = rate
    return SourcePlan("recording", name, source_target(name), live=False, network=False, options=options)


def _through(plan: SourcePlan, path: str) -> Iterator[Samples]:
    try:
        with make_source(plan) as source, settling():
            number = 0
            while isinstance(block := source.read(), Block):
                number += 1
                gap = block.gap or number == 1
                yield Samples(block.values, block.rate, block.wall, block.monotonic, number, gap)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # the source would propose to make a named pipe
            raise InputError(f"{path} does not exist") from error
        raise InputError(str(error) if str(error).startswith(path) else f"{path}: {error}") from error


def real_values(values: NDArray[Any], plan: SignalPlan) -> NDArray[np.float32]:
    """Return the values in the form that the model takes.

    Raises `InputError` for integers of sound without a full scale.

    For sound, the full scale of integers is the range of their type, as in a WAV file. For sensors, integers are
    measured values and stay unchanged.
    """
    sound = plan.features in SOUND and not plan.columns
    if not sound or values.dtype.kind not in "iu":
        with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, which counts as invalid
            return values.astype(np.float32)
    if values.dtype.itemsize > WIDEST:
        raise InputError(
            f"sound of {values.dtype} has no full scale; use float32 with the full scale 1, or int16 as in a WAV file"
        )
    half = 1 << (8 * values.dtype.itemsize - 1)
    middle = half if values.dtype.kind == "u" else 0
    return ((values.astype(np.float64) - middle) / half).astype(np.float32)


def _array(path: str, plan: SignalPlan) -> Iterator[Samples]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable NumPy array: {error}") from error
    if values.ndim not in (1, 2) or values.dtype.kind not in "iufb" or not values.size:
        raise InputError(
            f"{path}: it contains an array {list(values.shape)} of {values.dtype}; a signal is [samples] or "
            "[samples, channels] of numbers"
        )
    rows = values.reshape(len(values), -1)
    for number, start in enumerate(range(0, len(rows), STRETCH), 1):
        try:
            stretch = real_values(rows[start : start + STRETCH], plan)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        yield Samples(stretch, plan.rate or 1.0, time.time(), time.monotonic(), number, number == 1)


# One outcome for a whole recording: the mean over its windows.
#
# For scores, the mean shows how sure the model is that the recording as a whole is of a class, as is customary for
# audio events. A word scores higher in a recording that is not much longer than the word. For an autoencoder the
# outcome is the mean squared error.


class Average:
    """The running mean of candidates; it stores only their sum."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Candidates | None = None

    def add(self, found: Candidates) -> None:
        """Add the candidates of a window.

        Raises `ModelError` for a second window of boxes and the like, which have no mean.
        """
        self.count += 1
        self._sum = found if self._sum is None else _sum(self._sum, found)

    def mean(self) -> Candidates:
        """Return the mean; the candidates of a single window are returned unchanged.

        `add` must have been called at least once.
        """
        assert self._sum is not None
        return self._sum if self.count == 1 else _share(self._sum, self.count)


def _sum(one: Candidates, other: Candidates) -> Candidates:
    nonfinite = one.nonfinite + other.nonfinite
    if isinstance(one, Classes) and isinstance(other, Classes):
        return Classes(one.scores + other.scores, nonfinite)
    if isinstance(one, Distance) and isinstance(other, Distance):
        return Distance(one.score + other.score, nonfinite)
    if isinstance(one, Numbers) and isinstance(other, Numbers):
        return Numbers(one.values + other.values, nonfinite)
    raise ModelError("only classifications, anomalies and values have one outcome for a recording of several windows")


def _share(total: Candidates, count: int) -> Candidates:
    if isinstance(total, Classes):
        return Classes(total.scores / np.float32(count), total.nonfinite)
    if isinstance(total, Distance):
        return Distance(total.score / count, total.nonfinite)
    assert isinstance(total, Numbers)
    return Numbers(total.values / np.float32(count), total.nonfinite)


def find_in_recording(model: LoadedModel, stretches: Iterable[Samples], name: str) -> tuple[Findings, Captured]:
    """Return the findings over all windows, and the last window; raises `InputError` if there is no window."""
    preprocess = model.preprocess
    assert isinstance(preprocess, SignalPreprocess)
    average = Average()
    for window in windows(model, stretches, name):
        candidates, place = model.look(window)
        average.add(candidates)
    if not average.count:
        raise InputError(f"{name}: it is too short; the model takes {preprocess.described_need} at once")
    return model.postprocess(average.mean(), place, window.monotonic), window


def windows(model: LoadedModel, stretches: Iterable[Samples], name: str) -> Iterator[Captured]:
    """Yield all windows of a recording, including the last one, which is complete only because the recording ends."""
    last: Samples | None = None
    for last in stretches:
        try:
            yield from model.frames(last)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    if last is not None:
        yield from model.rest(last)
