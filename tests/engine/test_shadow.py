"""A shadow: which frames it sees, and that nothing which goes wrong in it concerns the pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import ShadowStatus
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.model.shadow import LESS, ShadowModel, ShadowSampler
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.records import Boxes
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Frame
from edge_infer.ipc.channel import Channel
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import DecoderPlan, Measured, PipelinePlan, ShadowPlan
from tests.broker import eventually
from tests.engine.test_worker import ends, images
from tests.running import MODEL

__all__ = ["ends"]


class Failing(BlazeFace):
    """It can be loaded and warmed, and fails from then on."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        self.calls += 1
        if self.calls > 1:
            raise IndexError("a fault of a plug-in")
        return super().__call__(tensors)


class Hanging(BlazeFace):
    """It can be loaded and warmed, and does not come back from the next frame until it is told."""

    calls = 0
    over = threading.Event()

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        self.calls += 1
        if self.calls > 1:
            self.over.wait(30)
        return super().__call__(tensors)


class Wild(BlazeFace):
    """It can be loaded and warmed, and not all of its numbers are finite from then on."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        self.calls += 1
        return replace(super().__call__(tensors), nonfinite=int(self.calls > 1))


class Unbuilt(BlazeFace):
    """It cannot even be made."""

    def __init__(self, *_: object) -> None:
        raise TypeError("a fault of a plug-in")


def plan(decoder: type = BlazeFace, share: float = 1.0) -> PipelinePlan:
    model = resolve(ModelRequest("faces", str(MODEL)))
    target = f"{decoder.__module__}:{decoder.__name__}"
    other = replace(model, name="next", decoder=DecoderPlan("any", target, model.decoder.options))
    return PipelinePlan("door", "cam", model, 0.5, shadow=ShadowPlan(other, 0.5, share))


def fed(shadow: ShadowModel, **wanted: Any) -> ShadowStatus:
    """Its status once it is this, with frames offered meanwhile."""
    frame = Frame(np.full((64, 64, 3), 90, np.uint8), "bgr", 0.0, 0.0, 1)
    with LoadedModel(shadow.plan) as model:
        findings = model.find(frame)

    def fits() -> ShadowStatus | None:
        shadow.offer(frame, findings, time.monotonic() - 0.01, 0)
        status = shadow.status()
        return status if all(getattr(status, key) == value for key, value in wanted.items()) else None

    found: ShadowStatus = eventually(fits, lambda: f"{wanted}: {shadow.status()}", 20)
    return found


def test_it_sees_its_share_of_the_frames_within_its_share_of_the_time() -> None:
    allowance = ShadowSampler(0.25, 0.0)
    taken = [allowance.take(second, behind=False, busy=False) for second in range(1, 41)]
    assert sum(taken) == 10
    allowance.spend(6.0)  # one second was saved up: a quarter of 20 seconds makes up for the rest
    later = [allowance.take(second, behind=False, busy=False) for second in range(41, 81)]
    assert sum(later) == 6
    assert not any(later[:19])
    assert allowance.skipped == 4


def test_under_load_it_sees_less_and_while_it_is_busy_nothing() -> None:
    allowance = ShadowSampler(0.5, 0.0)
    assert sum(allowance.take(second, behind=True, busy=False) for second in range(1, 81)) == 40 // LESS
    assert not any(allowance.take(second, behind=False, busy=True) for second in range(81, 91))
    assert allowance.skipped == 40 - 40 // LESS + 5


def test_a_good_one_is_compared() -> None:
    shadow = ShadowModel(plan())
    shadow.start()
    status = fed(shadow, frames=3)
    shadow.close()
    assert (status.state, status.agreement, status.errors, status.reason) == ("running", 1.0, 0, ABSENT)
    assert status.latency is not ABSENT


@pytest.mark.parametrize(("decoder", "errors"), [(Failing, 5), (Unbuilt, 0)])
def test_one_that_fails_is_off_with_the_reason(decoder: type, errors: int) -> None:
    shadow = ShadowModel(plan(decoder))
    shadow.start()
    status = fed(shadow, state="off")
    shadow.close()
    assert "a fault of a plug-in" in str(status.reason)
    assert status.errors == errors


def test_one_whose_numbers_are_not_finite_fails_and_agrees_with_nothing() -> None:
    shadow = ShadowModel(plan(Wild))
    shadow.start()
    status = fed(shadow, state="off")
    shadow.close()
    assert "not finite" in str(status.reason)
    assert (status.errors, status.frames, status.agreement) == (5, 0, None)


def test_while_pipelines_take_every_turn_it_skips_its_frames_and_goes_on_afterwards() -> None:
    turns = Turns(1)
    pipeline = turns.join()
    shadow = ShadowModel(plan(), turns)
    shadow.start()
    assert turns.take(pipeline, 0.0)
    before = fed(shadow, state="running")
    eventually(lambda: turns.scarce, "a shadow that wants turns")
    with LoadedModel(shadow.plan) as model:
        frame = Frame(np.full((64, 64, 3), 90, np.uint8), "bgr", 0.0, 0.0, 1)
        findings = model.find(frame)

    def missed() -> bool:
        shadow.offer(frame, findings, time.monotonic() - 0.01, 0)
        return shadow._missed >= 2

    eventually(missed, "frames without a turn")
    status = shadow.status()
    assert (status.frames, status.errors) == (0, 0)
    assert status.skipped >= before.skipped + 2
    turns.end(pipeline)
    fed(shadow, frames=3)
    assert turns.take(pipeline, 1.0)
    shadow.close(5.0)
    assert not turns.scarce


def test_one_that_does_not_come_back_wants_no_more_turns() -> None:
    turns = Turns(1)
    turns.join()
    wanted = plan(Hanging)
    assert wanted.shadow is not None
    quick = replace(wanted.shadow.model, measured=Measured(budget=0.1))
    shadow = ShadowModel(replace(wanted, shadow=replace(wanted.shadow, model=quick)), turns)
    shadow.start()
    eventually(lambda: turns.scarce, "a shadow that wants turns")
    fed(shadow, state="off")
    assert not turns.scarce
    Hanging.over.set()
    shadow.close(5.0)
    assert turns._running == []


def test_it_takes_the_turns_of_its_pipeline(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    turns = Turns(1)
    feed = images(tmp_path, 1)
    worker = Worker(plan(), feed, ends[0], turns=turns)
    worker.start()
    eventually(lambda: turns.scarce, "two that want the core", 20)
    worker.close()
    feed.close()
    eventually(lambda: not turns.scarce, "nobody who wants it")
