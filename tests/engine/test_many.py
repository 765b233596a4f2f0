"""Pipelines on fewer cores than they want: all get on, one with a priority further, and none waits for a hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.records import Candidates
from edge_infer.engine.worker import Worker
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover, StateSnapshot
from tests.broker import eventually
from tests.engine.test_feed import PLAN
from tests.engine.test_worker import images, pipeline_plan


class Hung(BlazeFace):
    """A decoder of another package that does not come back from the first frame until it is let go."""

    go_on: ClassVar[threading.Event]
    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        if self.calls > 1:  # the first call of all warms the model
            self.go_on.wait(60.0)
        return super().__call__(tensors)


@pytest.fixture
def outlet() -> Iterator[ResultSender]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot))
    yield ResultSender(ours, "abcdef")
    ours.close()
    theirs.close()


@contextmanager
def running(folder: Path, outlet: ResultSender, *plans: Any) -> Iterator[list[Worker]]:
    """Pipelines on one core, each with pictures of its own, of which none is dropped."""
    turns = Turns(1)
    with ExitStack() as stack:
        workers = []
        for plan in plans:
            (folder / plan.name).mkdir()
            feed = images(folder / plan.name, 4, loop=True)
            worker = Worker(plan, feed, outlet, turns=turns)
            stack.callback(worker.close)
            stack.callback(feed.close)
            worker.start()
            feed.start(local_capture(feed.plan))
            workers.append(worker)
        stack.callback(lambda: [worker.stop() for worker in workers])
        yield workers


def test_all_get_on_and_the_one_with_a_priority_gets_further(outlet: ResultSender, tmp_path: Path) -> None:
    plans = [replace(pipeline_plan(), name=name, priority=name == "first") for name in ("one", "two", "first")]
    with running(tmp_path, outlet, *plans):
        eventually(lambda: all(outlet.numbered(plan.name) for plan in plans), "results of all", 20)
        before = {plan.name: outlet.numbered(plan.name) for plan in plans}
        eventually(lambda: all(outlet.numbered(name) > before[name] + 10 for name in before), "more of all", 60)
        done = {name: outlet.numbered(name) - before[name] for name in before}
    assert done["first"] > max(done["one"], done["two"])


def test_a_model_that_hangs_does_not_keep_the_turn_for_ever(outlet: ResultSender, tmp_path: Path) -> None:
    Hung.go_on = threading.Event()
    plans = [replace(pipeline_plan(Hung), name="hung"), replace(pipeline_plan(), name="other")]
    with running(tmp_path, outlet, *plans) as (hung, _):
        eventually(lambda: hung.busy() > 0.1, "a hang", 20)
        before = outlet.numbered("other")
        eventually(lambda: outlet.numbered("other") > before + 3, "results of the other", 20)
        assert hung.busy() > 0.0
        Hung.go_on.set()


def test_whose_model_cannot_be_loaded_does_not_keep_its_turn(outlet: ResultSender) -> None:
    turns, feed, plan = Turns(1, lambda: 1.0), Feed(PLAN), pipeline_plan()
    other, worker = turns.join(), Worker(plan, feed, outlet, turns=turns)
    worker.turn()  # takes its model into service
    assert turns.take(worker._intake._turn, 0.0)  # as after a frame that was quick, where the next one is there
    worker.change(replace(plan, model=replace(plan.model, path="/nowhere")), alone=True)
    worker.turn()
    assert worker.running().refused
    assert turns.take(other, 0.0)
    worker.close()
