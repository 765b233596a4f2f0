"""One outcome for a whole recording: the mean over its windows.

For scores, the mean shows how sure the model is that the recording as a whole is of a class, as is customary for audio
events. A word scores higher in a recording that is not much longer than the word. For an autoencoder the outcome is the
mean squared error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edge_infer.engine.frame import Captured, Samples
from edge_infer.engine.model import LoadedModel
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.engine.records import Candidates, Classes, Distance, Numbers
from edge_infer.engine.tasks import Findings
from edge_infer.errors import InputError, ModelError


class Average:
    """The running mean of candidates; it stores only their sum."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Candidates | None = None

    def add(self, found: Candidates) -> None:
        """Add the candidates of a window; raises `ModelError` for a second one of a kind without a mean (boxes)."""
        self.count += 1
        self._sum = found if self._sum is None else _sum(self._sum, found)

    def mean(self) -> Candidates:
        """Return the mean; a single addition is returned unchanged. `add` must have been called at least once."""
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
    raise ModelError("a recording of several windows has one outcome for classifications, anomalies and values only")


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
    """Yield all windows of a recording, including the one that only the end of the recording completes."""
    last: Samples | None = None
    for last in stretches:
        try:
            yield from model.frames(last)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    if last is not None:
        yield from model.rest(last)
