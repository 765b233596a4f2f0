"""The thread of a cascade: silence of its parent, faults of its model, and a parent that is quicker."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.cascade.parent import CropsFeed
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.records import Candidates
from edge_infer.engine.worker import Worker
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover, StateSnapshot
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import CropsPlan, DecoderPlan, PipelinePlan, SourcePlan
from tests.broker import eventually
from tests.engine.cascade.sightings import seen, shown
from tests.running import MODEL


class Second(BlazeFace):
    """A decoder of another package: its second crop fails (the first call of all warms the model)."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        if self.calls == 3:
            raise IndexError("a fault of a plug-in")
        return super().__call__(tensors)


class Slow(BlazeFace):
    """As a large model on a small board."""

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        time.sleep(0.2)
        return super().__call__(tensors)


@pytest.fixture
def ends() -> Iterator[tuple[ResultSender, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot))
    yield ResultSender(ours, "abcdef"), theirs
    ours.close()
    theirs.close()


class Closer:
    """A cascade at work, and what it has said."""

    def __init__(self, ends: tuple[ResultSender, Channel], decoder: type = BlazeFace) -> None:
        outlet, self._channel = ends
        model = resolve(ModelRequest("faces", str(MODEL)))
        target = f"{decoder.__module__}:{decoder.__name__}"
        model = replace(model, decoder=DecoderPlan(decoder.__name__, target, model.decoder.options))
        plan = PipelinePlan("closer", "closer", model, 0.5, publish="every", crops=CropsPlan("faces", again=0.0))
        self.feed = CropsFeed(SourcePlan("closer", "crops", "", False, False, {}, noisy=False, parent="faces"))
        self.worker = Worker(plan, self.feed, outlet)
        self._said: list[Any] = []

    def __enter__(self) -> Closer:
        self.worker.start()
        eventually(lambda: self.worker.running().sha, "a model", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.close()
        self.feed.close()

    def said(self) -> list[Any]:
        while (record := self._channel.receive()) is not None:
            self._said.append(record.message if isinstance(record, Handover) else record.state)
        return self._said

    def states(self) -> list[tuple[object, object]]:
        """Reasons, or the ids of those of whom something is known."""
        return [
            (each.reason or None, tuple(answer.id for answer in each.answers or ()))
            for each in self.said()
            if hasattr(each, "reason")
        ]


def test_what_the_parent_cannot_say_its_cascade_cannot(ends: tuple[ResultSender, Channel]) -> None:
    with Closer(ends) as closer:
        closer.feed.show(shown(seen(1), present={1}))
        eventually(lambda: closer.states()[-1] == (None, (1,)), "an answer")
        closer.feed.silent("source_lost")
        eventually(lambda: closer.states()[-1] == ("source_lost", ()), "the reason")
        closer.feed.show(shown(seen(2), present={2}, at=1.0))
        eventually(lambda: closer.states()[-1] == (None, (2,)), "an answer")
        closer.feed.silent("model_changed")  # for a moment only
        closer.feed.show(shown(seen(3), present={3}, at=2.0))
        eventually(lambda: closer.states()[-1] == (None, (3,)), "an answer")
        assert closer.states() == [
            ("starting", ()), (None, (1,)), ("source_lost", ()), (None, (2,)), ("model_changed", ()), (None, (3,)),
        ]  # fmt: skip


def test_a_crop_that_cannot_be_looked_at_costs_the_state_of_its_frame(ends: tuple[ResultSender, Channel]) -> None:
    with Closer(ends, Second) as closer:
        closer.feed.show(shown(seen(1), seen(2), seen(3), present={1, 2, 3}))
        eventually(lambda: closer.states()[-1] == ("engine_failed", ()), "the fault")
        eventually(lambda: len([each for each in closer.said() if hasattr(each, "parent")]) == 2, "the other two")
        closer.feed.show(shown(seen(1), present={1}, at=1.0))
        eventually(lambda: closer.states()[-1] == (None, (1,)), "an answer")


def test_a_cascade_that_is_slow_drops_frames_and_holds_up_nobody(ends: tuple[ResultSender, Channel]) -> None:
    with Closer(ends, Slow) as closer:
        for number in range(50):
            frame = shown(seen(1), present={1}, at=float(number))
            closer.feed.show(replace(frame, pixels=np.full_like(frame.pixels, number)))

        def results() -> list[Any]:
            return [each for each in closer.said() if hasattr(each, "parent")]

        eventually(lambda: results() and results()[-1].ts == "1970-01-01T00:00:49.000Z", "the newest", 30)
        assert closer.worker.health().dropped + len(results()) == 50
        assert len(results()) <= 10
