"""A loaded model: fills its inputs from a frame, runs it, and interprets its outputs."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.decoders import Decoder, Layout, decoder_class
from edge_infer.engine.decoders.options import make_decoder
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.input_tensors import Entries
from edge_infer.engine.model.interpreter_pool import InterpreterPools, Loan
from edge_infer.engine.model.model_files import Lease, ModelFiles
from edge_infer.engine.preprocess import Preprocessor
from edge_infer.engine.preprocess.tiles import Tiles
from edge_infer.engine.records import Boxes, Candidates
from edge_infer.engine.tasks import Findings, TaskOf, task_class
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Captured, Frame, Samples
from edge_infer.frames.geometry import Transform
from edge_infer.plan.records import InputPlan, ModelInput, ModelPlan, PipelinePlan
from edge_infer.platform.closing import Closing

if TYPE_CHECKING:
    from typing_extensions import Self

_BLOCK: Final = 1 << 20
LONG: Final = 0.01
"""If the first run, which is the slowest, takes more seconds than this, no further runs measure the duration."""
RUNS: Final = 3
"""Number of further runs with which the duration is measured; the shortest run counts."""

Look: TypeAlias = tuple[Candidates, Transform]
"""The candidates found in one part of a frame, and the transform of that part."""


@dataclass(frozen=True, slots=True)
class Staged:
    """The contents of all inputs for one part of a frame, and the transform of that part."""

    inputs: list[NDArray[Any]]
    transform: Transform


class LoadedModel(Closing):
    """Everything that a pipeline needs of its model; a context manager, used by one thread.

    Enter ``lent`` first. Then for each part of ``parts(frame)``:
    - ``feed(part)`` fills the inputs and returns the transform;
    - ``interpreter.invoke()`` returns the tensors;
    - ``decode(tensors)`` returns the candidates.

    ``join`` combines the candidates of all parts, and ``postprocess(candidates, transform, moment)`` returns the
    findings.
    """

    interpreter: Interpreter
    preprocess: Preprocessor
    postprocess: TaskOf
    _decoder: Decoder
    _entries: Entries

    def __init__(
        self, plan: PipelinePlan, pool: InterpreterPools | None = None, files: ModelFiles | None = None
    ) -> None:
        """Without a ``pool`` the model has its own interpreter; with one, several pipelines may share it.

        The interpreter is made from ``files``, which the supervisor handed over, or else from the files that the plan
        names.
        """
        self._plan = plan
        self._pool = pool
        self._files = files
        self._lease = Lease(plan.model)
        self.lent: AbstractContextManager[None] = nullcontext()
        """Context in which the interpreter may be filled, run and read."""
        self.echo: tuple[int, ...] = ()
        """Positions of the inputs that the decoder needs."""
        self._wants_real = False
        self._buffers: tuple[list[list[NDArray[Any]]], ...] = ([], [])
        self._turn = 0  # two buffers in turn: a frame may still be in use when the next one is staged
        self.seconds = 0.0
        """Duration of a run, measured while loading."""

    def __enter__(self) -> Self:
        """Load the model and run it once; raises `ModelError`, which names the model and its file."""
        model = self._plan.model
        with ExitStack() as failed:
            failed.callback(self.close)
            try:
                if self._files is not None:
                    self._lease = self._files.lease(model)
                check_digest(self._lease.model)
                self._join()
                self._build(self._lease.model)
                self._warm()
            except ModelError as error:
                why = self._lease.named(str(error))
                raise ModelError(f"model {model.name} ({model.path}): {why}", key=error.key) from error
            failed.pop_all()
        return self

    def close(self) -> None:
        """Release the model; may be called twice, and after a failed start."""
        lent, self.lent = self.lent, nullcontext()
        if isinstance(lent, Loan):
            lent.shelf.leave()
            del self.interpreter  # other pipelines use this interpreter
        elif hasattr(self, "interpreter"):
            self.interpreter.close()
        self._lease.close()

    def inherit(self, before: LoadedModel) -> None:
        """Take over the half-filled window of samples of another model, if both gather samples in the same way."""
        ours, theirs = (one._plan.model for one in (self, before))  # noqa: SLF001 - of the same class
        alike = (ours.input, ours.further) == (theirs.input, theirs.further)
        if alike and ours.input.takes == "samples" and self.interpreter.inputs == before.interpreter.inputs:
            self._entries, self.preprocess = before._entries, before.preprocess

    @property
    def taken(self) -> ModelInput:
        """Description of how items of a source become the model's input, with files that this process can open."""
        return self._lease.model.input

    @property
    def filled(self) -> tuple[int, ...]:
        """Positions of the inputs with numbers from the frame, without constants."""
        return self._entries.filled

    def frames(self, taken: Captured) -> Iterator[Captured]:
        """Yield the model inputs that ``taken`` completes: a picture at once, samples when a window is full."""
        return iter((taken,)) if isinstance(taken, Frame) else self._after_gaps(self.preprocess.frames(taken))

    def rest(self, last: Samples) -> Iterator[Captured]:
        """Yield the remaining windows of a signal model when no samples follow ``last``."""
        rest = getattr(self.preprocess, "rest", None)
        if rest is not None:
            yield from self._after_gaps(rest(last))

    def _after_gaps(self, frames: Iterable[Captured]) -> Iterator[Captured]:
        for frame in frames:
            if frame.gap:
                self.interpreter.forget()
            yield frame

    def parts(self, frame: Captured) -> tuple[Captured, ...]:
        """Return the parts of a frame on which the model runs one after the other: the whole frame, or its tiles."""
        return self._tiles(frame) if self._tiles and isinstance(frame, Frame) else (frame,)

    def join(self, looks: Sequence[Look]) -> Look:
        """Combine the candidates of all parts of a frame; return them with the transform of the frame."""
        if self._tiles is None:
            return looks[0]
        return self._tiles.joined([(found, place) for found, place in looks if isinstance(found, Boxes)])

    def stage(self, frame: Captured) -> tuple[Staged, ...]:
        """Prepare the parts of a frame early, possibly while the model runs; `feed` then only copies them."""
        self._turn = 1 - self._turn
        parts, buffers, inputs = self.parts(frame), self._buffers[self._turn], self.interpreter.inputs
        while len(buffers) < len(parts):
            buffers.append([np.empty(tensor.shape, tensor.dtype) for tensor in inputs])
        return tuple(
            Staged(into, self._entries(part, into.__getitem__)) for part, into in zip(parts, buffers, strict=False)
        )

    def feed(self, part: Captured | Staged) -> Transform:
        """Fill the inputs; return the transform that maps fractions of the input back to the frame."""
        if isinstance(part, Staged):
            for position, values in enumerate(part.inputs):
                self.interpreter.input(position)[...] = values
            return part.transform
        return self._entries(part, self.interpreter.input)

    def decode(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        """Return the candidates in the tensors of a run with the inputs of the last `feed`.

        Only pictures are prepared ahead, so the last window of a signal that was prepared is the last one that was fed.
        """
        if not self._wants_real:
            return self._decoder(tensors)
        *outputs, stored = tensors
        real = getattr(self.preprocess, "real", None)  # signals, whose range the tensor may not cover
        if real is None:
            real = self.interpreter.inputs[self._entries.main].dequantize(stored)
        return self._decoder([*outputs, real])

    def look(self, frame: Captured) -> Look:
        """Return the joined candidates of all parts of one frame."""
        with self.lent:
            return self._look(frame, self.interpreter.invoke)

    def find(self, frame: Captured) -> Findings:
        """Run all steps for one frame; for callers that need no intermediate result."""
        return self.postprocess(*self.look(frame), frame.monotonic)

    def _join(self) -> None:
        shelf = self._pool.shelf(self._plan) if self._pool is not None else None
        self.interpreter = shelf.join(self._make) if shelf is not None else self._make()
        if shelf is not None and not self.interpreter.remembers:
            self.lent = Loan(shelf, self._another, self)

    def _make(self) -> Interpreter:
        model = self._lease.model
        return Interpreter(
            model.path,
            self._plan.threads,
            model.state,
            model.shapes,
            model.outputs,
            delegate=self._plan.delegate,
        )

    def _another(self) -> Interpreter:
        """Make another interpreter. The file may have changed since the first one was made."""
        check_digest(self._lease.model)
        return self._make()

    def _build(self, model: ModelPlan) -> None:
        inputs, outputs = self.interpreter.inputs, self.interpreter.outputs
        self._entries = Entries(model, inputs)
        self.preprocess = self._entries.preprocess
        main = self._entries.main
        layout = Layout((inputs[main],), outputs, len(model.labels), self._plan.floor, model.decoder.options)
        decoder = decoder_class(model.decoder.target)
        self._decoder = make_decoder(model.decoder.kind, decoder, layout)
        self._wants_real = getattr(decoder, "wants_real_input", False)
        self.echo = (main,) if self._wants_real or getattr(decoder, "wants_input", False) else ()
        if not isinstance(self.lent, Loan):
            self.interpreter.echo = self.echo
        self._forget()
        self._tiles = None
        if isinstance(model.input, InputPlan) and model.input.tiles != (1, 1):
            if model.task != "detection":
                raise ModelError(f"tiles are for detection, and this model is for {model.task}", key="task")
            self._tiles = Tiles(model.input, self._plan.floor)

    def _look(self, frame: Captured, run: Callable[[], list[NDArray[Any]]]) -> Look:
        looks: list[Look] = []
        for part in self.parts(frame):
            transform = self.feed(part)
            looks.append((self.decode(run()), transform))
        return self.join(looks)

    def _warm(self) -> None:
        """Run the model once. The first run is the slowest, and shows whether the outputs fit the decoder."""
        example, self.seconds = self.preprocess.example(), math.inf
        with self.lent:
            self.postprocess(*self._look(example, self._timed), example.monotonic)
            for _ in range(RUNS if self.seconds < LONG else 0):
                self._timed()
            self.interpreter.forget()
        self._forget()

    def _forget(self) -> None:
        """Reset the postprocessing: it must not remember the values of the first run, which were never measured."""
        self.postprocess = task_class(self._plan.model.task)(self._plan)

    def _timed(self) -> list[NDArray[Any]]:
        """Measure the duration of the run alone; the first pre- and postprocessing takes long with any model."""
        begun = time.perf_counter()
        tensors = self.interpreter.invoke()
        self.seconds = min(self.seconds, time.perf_counter() - begun)
        return tensors


def check_digest(model: ModelPlan) -> None:
    """Raise `ModelError` unless the file has the SHA-256 of the plan."""
    digest = hashlib.sha256()
    try:
        with Path(model.path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"it cannot be read: {error.strerror or error}") from error
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"its SHA-256 is {digest.hexdigest()[:16]}…, not {model.sha256[:16]}…: the file has changed", key="sha256"
        )
