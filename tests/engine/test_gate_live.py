"""The gate in the thread of a pipeline: what is told of it, and what opens it whatever moves."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import Event, PipelineHealth, Result
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.records import Boxes
from edge_infer.engine.worker import Worker
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover, StateSnapshot
from edge_infer.plan.records import DecoderPlan, MotionPlan, PipelinePlan, TrackPlan
from tests.broker import eventually
from tests.engine.painted import STAGES, Actor, Paint, Stage, painted_model, painted_plan, recording, shown

STANDING = Stage((Actor(((0, 100, 120), (30, 100, 120))),), 12.0)
MOTION = MotionPlan(still_check=3.0)


class Ill(Paint):
    """Fails at the first still-check: its first look is the warming, and 20 are for learning the place."""

    looks = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        self.looks += 1
        if self.looks == 22:
            raise IndexError("a fault of a plug-in")
        return super().__call__(tensors)


@pytest.fixture
def ends() -> Iterator[tuple[ResultSender, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot))
    yield ResultSender(ours, "abcdef"), theirs
    ours.close()
    theirs.close()


@pytest.fixture(scope="module")
def plan(assets: Path) -> PipelinePlan:
    model = painted_model(assets / "models" / "mobilenet_v1_0.25_128_quant.tflite")
    return painted_plan(model, track=TrackPlan(), motion=MOTION)


class Run:
    """A stage from beginning to end in a pipeline of its own."""

    def __init__(
        self, ends: tuple[ResultSender, Channel], stage: Stage, plan: PipelinePlan, *, watched: bool = False
    ) -> None:
        STAGES["live"] = stage
        outlet, self._channel = ends
        self.records: list[Any] = []
        feed = Feed(recording("live"))
        worker = Worker(plan, feed, outlet, watched=watched)
        worker.start()
        feed.start(local_capture(feed.plan))
        eventually(lambda: "source_ended" in self.reasons(), "end of the source", 60)
        self.health: PipelineHealth = worker.health()
        self.prepared = len(worker._models.serving._prepared)
        self.why = [each.sentence()[9:] for each in worker.decisions.between(0.0, label="red")]
        worker.close()
        feed.close()

    def said(self, kind: type) -> list[Any]:
        while (record := self._channel.receive()) is not None:
            self.records.append(record)
        return [each.message for each in self.records if isinstance(each, Handover) and isinstance(each.message, kind)]

    def reasons(self) -> list[object]:
        self.said(Result)
        return [record.state.reason for record in self.records if isinstance(record, StateSnapshot)]


def test_what_was_saved_is_told_and_why(ends: tuple[ResultSender, Channel], plan: PipelinePlan) -> None:
    run = Run(ends, STANDING, plan)
    still = sum(result.still is True for result in run.said(Result))
    assert still > 60
    motion = run.health.motion
    assert motion is not ABSENT
    assert (motion.still, motion.saved) == (still, round(still / 120, 4))
    (said,) = [each for each in run.why if each.startswith("no motion")]
    assert said.startswith(f"no motion, {still} times in ")
    assert "motion.area is 0.10%" in said


def test_a_frame_that_was_prepared_and_is_not_looked_at_is_not_kept(
    ends: tuple[ResultSender, Channel], plan: PipelinePlan
) -> None:
    run = Run(ends, STANDING, replace(plan, ahead="always"))
    assert run.health.motion is not ABSENT
    assert run.health.motion.still > 60
    assert run.prepared == 0


def test_live_and_replayed_it_is_the_same(ends: tuple[ResultSender, Channel], plan: PipelinePlan) -> None:
    run = Run(ends, STANDING, plan)
    replayed = [each for one in shown("live", STANDING, plan) for each in one.said]
    for kind in (Result, Event):
        live = [replace(each, boot="abcdef", ts="") for each in run.said(kind)]
        expected = [replace(each, ts="") for each in replayed if isinstance(each, kind)]
        if kind is Result:
            live = [replace(each, ms=ABSENT) for each in live]
        assert [replace(each, since=ABSENT) if kind is Event else each for each in live] == [
            replace(each, since=ABSENT) if kind is Event else each for each in expected
        ]


def test_a_model_on_trial_sees_everything(ends: tuple[ResultSender, Channel], plan: PipelinePlan) -> None:
    run = Run(ends, STANDING, plan, watched=True)
    assert not any(result.still is True for result in run.said(Result))
    motion = run.health.motion
    assert motion is not ABSENT
    assert (motion.still, motion.saved) == (0, 0.0)


def test_after_a_fault_nothing_stands(ends: tuple[ResultSender, Channel], plan: PipelinePlan) -> None:
    ill = DecoderPlan("ill", f"{Ill.__module__}:Ill", {})
    run = Run(ends, STANDING, replace(plan, model=replace(plan.model, decoder=ill)))
    assert "engine_failed" in run.reasons()
    results = run.said(Result)
    assert len(results) == 119
    before = next(
        number
        for number, (one, other) in enumerate(itertools.pairwise(results))
        if one.still is True and other.objects[0].id is ABSENT
    )
    assert results[before + 1].still is ABSENT, "what follows the fault is looked at, and whoever it shows is another"
    types = [event.type for event in run.said(Event)]
    assert types == ["appear", "leave", "appear", "leave"]


def test_without_the_key_nothing_is_said_of_it(ends: tuple[ResultSender, Channel], plan: PipelinePlan) -> None:
    run = Run(ends, replace(STANDING, seconds=4.0), replace(plan, motion=None))
    assert run.health.motion is ABSENT
    assert not any(result.still is True for result in run.said(Result))
