"""What a camera or a sensor sends while a new model is on probation must not cost an honest model its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.input.sample_stream import SampleStream
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.probation import DISTINCT, EXTREME, FEW, SAME, SLOW, Trial
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.pipeline import FramePipeline
from edge_infer.engine.preprocess import PREPROCESS
from edge_infer.engine.preprocess.image import ImagePreprocess
from edge_infer.engine.worker import Worker
from edge_infer.errors import InputError, ModelError
from edge_infer.frames.frame import Captured, Frame, Samples
from edge_infer.frames.geometry import Transform
from edge_infer.ipc.channel import Channel
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.models.trials.trial import check_outputs
from edge_infer.plan.records import Measured, PipelinePlan
from tests.broker import eventually
from tests.engine.summing import HALF, INT, Entry, adding_model, casting_model, remembering_model, weighing_model
from tests.engine.test_pipeline_signals import results, source
from tests.engine.test_worker import Slow, ends, heard, images, pipeline_plan, reasons
from tests.moody import write_model
from tests.running import MODEL

__all__ = ["ends"]

YOLO = "yolov8n_full_integer_quant_224.tflite"
ROWS = "task: regression\ninput: {features: raw, channels: 1}\nvalues: [{name: load, min: -100, max: 100}]\n"
FAR = ROWS.replace("100", "1.0e+9")
CLASSES = """\
task: classification
input: {features: raw, channels: 1}
labels: [low, high]
decoder: {kind: classification, activation: softmax}
"""
SAME_FOR_MANY = f"bit by bit, for {SAME} different inputs"


def plan_of(file: Path, budget: float | None = None, **settings: Any) -> PipelinePlan:
    model = replace(resolve(ModelRequest("m", str(file))), measured=Measured(budget=budget))
    return PipelinePlan("door", "cam", model, model.threshold, publish="every", **settings)


def rows_model(folder: Path, data: bytes, manifest: str = ROWS) -> PipelinePlan:
    (folder / "rows.tflite").write_bytes(data)
    (folder / "rows.yaml").write_text(manifest)
    return plan_of(folder / "rows.tflite")


def weighing(weight: float, outputs: int = 1, inputs: int = 1) -> bytes:
    """A model whose outputs are each the mean of its inputs times ``weight``."""
    ones = np.ones((1, outputs), np.float32)
    return weighing_model(Entry("row", (1, inputs)), np.full((1, inputs), weight, np.float32), 0 * ones, ones)


@contextmanager
def watched(
    plan: PipelinePlan, outlet: ResultSender, pool: InterpreterPools | None = None
) -> Iterator[tuple[Serving, Trial, Callable[[Captured], Any]]]:
    """A model on probation, and what processes a frame with it."""
    serving = Serving(plan, "abcdef", lambda: 1, watched=True, pool=pool)
    pipeline = FramePipeline(PipelineOutput("door", outlet), PipelineWatch(time.monotonic()))
    serving.load()
    try:
        assert serving.trial is not None
        yield serving, serving.trial, lambda frame: pipeline.step(serving, frame)
    finally:
        serving.close()


def picture(pixels: Any, number: int) -> Frame:
    return Frame(pixels, "bgr", time.time(), time.monotonic(), number)


def dark(size: int, number: int) -> Frame:
    """A black picture with one pixel that is brighter by one step, each time another pixel."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels.reshape(-1)[number] = 1
    return picture(pixels, number)


@pytest.mark.parametrize("shared", [False, True])
def test_faint_noise_in_the_dark_is_no_reason(
    ends: tuple[ResultSender, Channel], assets: Path, *, shared: bool
) -> None:
    pool = InterpreterPools(1) if shared else None
    with watched(plan_of(assets / "models" / YOLO), ends[0], pool) as (_, trial, step):
        for number in range(1, 3 * SAME):
            step(dark(224, number))
        assert trial.doubted, "the outputs did not repeat, so this test shows nothing"


def test_nor_is_it_for_the_shipped_model(ends: tuple[ResultSender, Channel]) -> None:
    """A hostile camera sends only those pictures that this model cannot tell from black."""
    plan = plan_of(MODEL)
    with LoadedModel(plan) as model:
        unseen = [number for number in range(1, 97 * 300, 97) if outputs(model, number) == outputs(model, None)]
    with watched(plan, ends[0]) as (_, trial, step):
        for number in unseen:
            step(dark(192, number))
        assert trial.doubted, "the outputs did not repeat, so this test shows nothing"


def outputs(model: LoadedModel, number: int | None) -> bytes:
    """The bytes of the outputs for a dark picture; without a number it is black."""
    model.feed(dark(192, number) if number is not None else picture(np.zeros((192, 192, 3), np.uint8), 1))
    return b"".join(values.tobytes() for values in model.interpreter.invoke())


def test_a_model_that_ignores_its_input_is_still_found(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    """It is asked a few times a frame, so the verdict is some frames later."""
    chance = np.random.default_rng(1)
    plan = plan_of(write_model(tmp_path / "m.tflite", "constant", 12))
    frames = (picture(chance.integers(0, 255, (48, 64, 3), np.uint8), 1 + number) for number in range(2 * SAME))
    with watched(plan, ends[0]) as (_, _, step), pytest.raises(ModelError, match=SAME_FOR_MANY):
        list(map(step, frames))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_ignores_a_single_row_is_found(
    ends: tuple[ResultSender, Channel], tmp_path: Path, channels: int
) -> None:
    plan = rows_model(tmp_path, weighing(0.0, 1, channels), ROWS.replace("channels: 1", f"channels: {channels}"))
    assert len({seen for seen, _ in answers(plan)}) == SAME + FEW
    with LoadedModel(plan) as model, pytest.raises(ModelError, match="the same, bit by bit, for"):
        check_outputs(model)
    check_found(plan, ends[0], channels)


def test_few_generated_inputs_suffice_if_a_model_cannot_tell_more_apart(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    """Together with its answers to real input. At its trial they would be too few."""
    plan = rows_model(tmp_path, casting_model(INT, 0.0))
    assert DISTINCT <= len({seen for seen, _ in answers(plan)}) < SAME
    check_found(plan, ends[0], 1)


def answers(plan: PipelinePlan) -> Iterator[tuple[bytes, bytes]]:
    """What the model sees of each generated input, and what it answers."""
    with LoadedModel(plan) as model:
        for frame in varied(model, SAME + FEW):
            model.feed(frame)
            yield model.interpreter.input(0).tobytes(), model.interpreter.invoke()[0].tobytes()


def check_found(plan: PipelinePlan, outlet: ResultSender, channels: int) -> None:
    """Check that the probation refuses the model."""
    values = (np.full((1, channels), number, np.float32) for number in range(3 * SAME))
    rows = (replace(row(0.0, number), values=each) for number, each in enumerate(values, 1))
    with watched(plan, outlet) as (_, _, step), pytest.raises(ModelError, match=SAME_FOR_MANY):
        list(map(step, rows))


def test_a_model_that_remembers_begins_anew_after_it_was_asked(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    """As after a gap: what it was asked leaves no trace."""
    with watched(rows_model(tmp_path, remembering_model(0.5)), ends[0]) as (serving, trial, step):
        assert [load_of(step(row(value, number))) for number, value in enumerate((2.0, 1.0), 1)] == [2.5, 3.5]
        trial.doubted = True
        trial.settle(serving.model)
        assert [load_of(step(row(value, number))) for number, value in enumerate((1.0, 1.0), 3)] == [1.5, 2.5]


def row(value: float, number: int) -> Samples:
    return Samples(np.full((1, 1), value, np.float32), 1.0, time.time(), time.monotonic(), number)


def load_of(findings: Any) -> float:
    (found,) = findings.values
    return float(found.value)


@pytest.mark.parametrize("wild", [3.3e38, -3.3e38])
@pytest.mark.parametrize("kind", [(ROWS, 1, 3), (CLASSES, 2, 2)], ids=["value", "class"])
def test_numbers_that_overflow_any_model_are_no_reason(
    ends: tuple[ResultSender, Channel], tmp_path: Path, kind: tuple[str, int, int], wild: float
) -> None:
    """A value is not known then, as it is after the probation, or the frame fails."""
    outlet, channel = ends
    manifest, outputs, count = kind
    feed, records = SampleStream(replace(source("mqtt", topic="x"), live=True)), list[Any]()
    pipeline = Worker(rows_model(tmp_path, weighing(2.5, outputs), manifest), feed, outlet, watched=True)
    for number, value in enumerate((2.0, wild, 4.0), start=1):
        item = row(value, number)
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
    pipeline.start()
    eventually(lambda: len(results(heard(channel, records))) == count, "all results", 20)
    eventually(lambda: pipeline.running().frames == 2, "the end of the last", 20)
    fault = pipeline.running().fault
    pipeline.close()
    feed.close()
    assert (fault, reasons(records).count("engine_failed")) == ("", 3 - count)


def test_ordinary_numbers_that_overflow_this_model_are_a_reason(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    with watched(rows_model(tmp_path, weighing(1e38)), ends[0]) as (serving, trial, step):
        step(row(2.0, 1))
        with pytest.raises(ModelError, match="not finite") as raised:
            step(row(EXTREME / 1000, 2))
        trial.failed(raised.value, serving.model)
        assert "not finite" in trial.fault


def test_such_numbers_do_not_stay_in_the_memory_of_a_model(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    with watched(rows_model(tmp_path, remembering_model(0.5)), ends[0]) as (_, trial, step):
        for number in range(1, 3):  # the sum of two of them would be infinite for ever
            step(row(3.3e38, number))
        assert (load_of(step(row(1.0, 3))), trial.fault) == (1.5, "")


def test_nor_do_they_make_it_look_as_if_it_ignored_its_input(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    """Next to such a number in its memory the others are too small to change anything."""
    with watched(rows_model(tmp_path, remembering_model(0.5), FAR), ends[0]) as (_, _, step):
        for number in range(1, 3 * SAME):
            step(row(3.3e38 if number == 1 else number, number))
        assert load_of(step(row(1.0, 3 * SAME))) < EXTREME


def test_large_numbers_are_no_reason_to_forget(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    """Raw counts of a sensor with 24 bits are such numbers."""
    with watched(rows_model(tmp_path, remembering_model(0.0), FAR), ends[0]) as (_, _, step):
        assert [load_of(step(row(4e6, number))) for number in range(1, 4)] == [4e6, 8e6, 12e6]


@pytest.mark.parametrize(
    ("weight", "kind", "why"),
    [(np.nan, (ROWS, 1), "not finite"), (0.0, (CLASSES, 2), SAME_FOR_MANY)],
    ids=["not finite", "constant"],
)
def test_large_numbers_do_not_hide_a_fault(
    ends: tuple[ResultSender, Channel], tmp_path: Path, weight: float, kind: tuple[str, int], why: str
) -> None:
    outlet, channel = ends
    manifest, outputs = kind
    feed, records = SampleStream(replace(source("mqtt", topic="x"), live=True)), list[Any]()
    pipeline = Worker(rows_model(tmp_path, weighing(weight, outputs), manifest), feed, outlet, watched=True)
    for number in range(1, 3 * SAME):
        item = row(4e6 + number, number)
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
    pipeline.start()
    eventually(lambda: heard(channel, records) and pipeline.running().fault, "the verdict", 20)
    fault = pipeline.running().fault
    pipeline.close()
    feed.close()
    assert why in fault


def test_a_large_constant_does_not_hide_a_fault(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    """Only what the frame fills shows what a source has sent; a model for it may overflow because of its mask."""
    data = adding_model(Entry("row", (1, 1)), Entry("mask", (1, 1)), out=(1, 1))
    plan = rows_model(tmp_path, data, f"{ROWS}inputs: {{mask: {{value: -1.0e+9}}}}\n")
    with watched(plan, ends[0]) as (serving, trial, step):
        step(row(2.0, 1))
        trial.failed(RuntimeError("a fault of its decoder"), serving.model)
    assert "a fault of its decoder" in trial.fault


def test_a_fault_before_the_model_is_not_judged_by_the_frame_before(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    with watched(rows_model(tmp_path, weighing(2.5)), ends[0]) as (serving, trial, step):
        step(row(4e6, 1))
        trial.done(trial.seconds)
        trial.failed(RuntimeError("a fault of its preprocessing"), serving.model)
    assert "a fault of its preprocessing" in trial.fault


def test_numbers_at_the_limit_of_a_small_type_are_extreme(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    """Larger numbers are clipped to it."""
    with watched(rows_model(tmp_path, casting_model(HALF, 1e34)), ends[0]) as (_, trial, step):
        for number, value in enumerate((2.0, 1e9, 3.0), start=1):
            step(row(value, number))
            trial.done(trial.seconds)
    assert (trial.frames, trial.fault) == (2, "")


WIDE = "the source delivers 2 values at a time"


@pytest.mark.parametrize(("place", "why"), [(1, WIDE), (2, "")])
def test_rows_of_another_width_count_only_before_the_first_good_one(
    ends: tuple[ResultSender, Channel], tmp_path: Path, place: int, why: str
) -> None:
    """A new manifest may not fit its source; later it is the source that has changed."""
    outlet, channel = ends
    feed, records = SampleStream(replace(source("mqtt", topic="x"), live=True)), list[Any]()
    pipeline = Worker(rows_model(tmp_path, weighing(2.5)), feed, outlet, watched=True)
    for number in range(1, 4):
        item = row(2.0, number)
        item = replace(item, values=np.ones((1, 2), np.float32)) if number == place else item
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
    pipeline.start()
    eventually(lambda: heard(channel, records) and pipeline.running().frames == 2, "the last row", 20)
    fault = pipeline.running().fault
    pipeline.close()
    feed.close()
    assert "engine_failed" in reasons(heard(channel, records))
    assert fault.startswith(why) if why else not fault


def lack_of_memory() -> Exception:
    """As OpenCV reports it."""
    error = cv2.error("Insufficient memory")
    error.code = cv2.Error.StsNoMem
    return error


@pytest.mark.parametrize("error", [InputError("it does not fit"), MemoryError(), lack_of_memory()])
def test_such_an_error_within_the_model_counts(
    ends: tuple[ResultSender, Channel], tmp_path: Path, error: Exception
) -> None:
    with watched(rows_model(tmp_path, weighing(2.5)), ends[0]) as (serving, trial, step):
        step(row(2.0, 1))
        trial.done(trial.seconds)
        trial.failed(error, serving.model)
        assert trial.fault == ""
        with pytest.raises(type(error)), trial.run():
            raise error
        trial.failed(error, serving.model)
        assert trial.fault


class Lingering(ImagePreprocess):
    """As for a very large picture."""

    def __call__(self, frame: Frame, into: Any) -> Transform:
        time.sleep(0.15)
        return super().__call__(frame, into)


def test_the_size_of_the_pictures_is_no_reason(
    ends: tuple[ResultSender, Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take long before the model sees them."""
    monkeypatch.setitem(PREPROCESS, "image", f"{__name__}:Lingering")  # type: ignore[misc]
    outlet, channel = ends
    plan, feed = plan_of(write_model(tmp_path / "m.tflite"), budget=0.1), images(tmp_path, 0)
    pipeline, records = Worker(plan, feed, outlet, watched=True), list[Any]()
    pipeline.start()
    eventually(lambda: pipeline.running().sha, "a model", 20)
    for number in range(1, 2 * SLOW):
        item = picture(np.full((48, 64, 3), number, np.uint8), number)
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
        eventually(lambda number=number: outlet.numbered("door") == number, "a result", 20)  # type: ignore[misc]
        heard(channel, records)
    running, health = pipeline.running(), pipeline.health()
    pipeline.close()
    feed.close()
    assert health.latency_ms is not None
    assert health.latency_ms.p50 > 100.0, "the whole frame was so quick that this test shows nothing"
    assert running.fault == ""


def test_the_time_in_the_model_counts(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    outlet, channel = ends
    plan = pipeline_plan(Slow)
    plan = replace(plan, model=replace(plan.model, measured=Measured(budget=1.0)))
    feed = images(tmp_path, 2)
    pipeline, records = Worker(plan, feed, outlet, watched=True), list[Any]()
    pipeline.start()
    eventually(lambda: pipeline.running().sha, "a model", 20)
    feed.offer(1, lambda: picture(np.zeros((48, 64, 3), np.uint8), 1))
    eventually(lambda: pipeline.running().busy > 0.5, "a run that takes long", 20)
    eventually(lambda: pipeline.running().fault, "the verdict", 20)
    running = pipeline.running()
    heard(channel, records)
    pipeline.close()
    feed.close()
    assert (running.busy, "longer than the limit of 1 s" in running.fault) == (0.0, True)
