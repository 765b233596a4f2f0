"""A pipeline's thread against models and plug-ins that fail, slow ones, and sources that end."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.events.explain import answer
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.feed import Cursor, Feed
from edge_infer.engine.output.health import LOST_AFTER
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.records import Boxes, Candidates
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Frame
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover, StateSnapshot, WhyQuestion
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import DecoderPlan, EventsPlan, PipelinePlan, SourcePlan, TrackPlan
from edge_infer.readers.sources import source_target
from tests.broker import eventually
from tests.running import MODEL


class Moody(BlazeFace):
    """A decoder of another package, with a fault in it: the third to the fifth call fail."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        if 3 <= self.calls <= 5:
            raise IndexError("a fault of a plug-in")
        return super().__call__(tensors)


class Lost(BlazeFace):
    """It can be loaded and warmed, and from the third call on its outputs are no numbers."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        found = super().__call__(tensors)
        return found if self.calls < 3 else Boxes(found.boxes[:0], found.scores[:0], found.classes[:0], nonfinite=7)


class Unbuilt(BlazeFace):
    """A decoder of another package that cannot even be made."""

    def __init__(self, *_: object) -> None:
        raise TypeError("a fault of a plug-in")


class Slow(BlazeFace):
    """As a large model on a small board."""

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        time.sleep(3.0)
        return super().__call__(tensors)


class SlowAtFirst(BlazeFace):
    """Takes longer for the first frame (the first call of all warms the model) than a camera may be silent."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        if self.calls == 2:
            time.sleep(LOST_AFTER + 0.5)
        return super().__call__(tensors)


@pytest.fixture
def ends() -> Iterator[tuple[ResultSender, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot))
    yield ResultSender(ours, "abcdef"), theirs
    ours.close()
    theirs.close()


def pipeline_plan(decoder: type = BlazeFace) -> PipelinePlan:
    model = resolve(ModelRequest("faces", str(MODEL)))
    target = f"{decoder.__module__}:{decoder.__name__}"
    model = replace(model, decoder=DecoderPlan(decoder.__name__, target, model.decoder.options))
    return PipelinePlan("door", "cam", model, 0.5, publish="every")


def images(folder: Path, count: int, **options: Any) -> Feed:
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((48, 64, 3), number, np.uint8))
    return Feed(SourcePlan("cam", "images", source_target("images"), live=False, network=False,
                           options={"path": str(folder), **options}))  # fmt: skip


def heard(channel: Channel, records: list[Any]) -> list[Any]:
    """Everything that the pipeline has said so far."""
    while (record := channel.receive()) is not None:
        records.append(record)
    return records


def reasons(records: list[Any]) -> list[object]:
    return [record.state.reason for record in records if isinstance(record, StateSnapshot)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"publish": "change"},
            ["published in a result", "labels and counts are as in the last one; heartbeat is 60 s"],
        ),
        ({"publish": "every"}, ["published in a result"]),
        (
            {"publish": "interval", "interval": 900.0},
            ["published in a result", "no result: publish is {interval: 900s}"],
        ),
        ({"publish": "off"}, ["in the state, in no result: publish is off"]),
        ({"publish": "off", "events": EventsPlan(), "track": TrackPlan()}, ["appear: told"]),
    ],
)
def test_why_a_result_was_not_published(
    ends: tuple[ResultSender, Channel], tmp_path: Path, settings: dict[str, Any], said: list[str]
) -> None:
    outlet, channel = ends
    records: list[Any] = []
    for number in range(8):
        shutil.copyfile(MODEL.parent / "golden" / "astronaut.png", tmp_path / f"{number}.png")
    feed = Feed(SourcePlan("cam", "images", source_target("images"), live=False, network=False,
                           options={"path": str(tmp_path)}))  # fmt: skip
    pipeline = Worker(replace(pipeline_plan(), **settings), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source", 20)
    told = answer(WhyQuestion(0.0, time.time() + 60.0), {"door": (pipeline.plan, pipeline.decisions)}).lines
    pipeline.close()
    feed.close()
    assert [any(text in line and " face 0.9" in line for text in said) for line in told] == [True] * len(said), told


@pytest.mark.parametrize(
    ("decoder", "pictures", "numbers", "faults"), [(Moody, 8, [1, 2, 3, 4, 5], 3), (Lost, 3, [1], 2 * 7 + 2)]
)
def test_a_frame_that_fails_in_the_decoder_makes_the_state_null(
    ends: tuple[ResultSender, Channel], tmp_path: Path, *, decoder: type, pictures: int, numbers: list[int], faults: int
) -> None:
    """Also one of outputs that are no numbers, without a probation."""
    outlet, channel = ends
    feed, records = images(tmp_path, pictures), list[Any]()
    pipeline = Worker(pipeline_plan(decoder), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source", 20)
    assert pipeline.health().faults == faults
    pipeline.close()
    feed.close()
    assert "engine_failed" in reasons(records)
    assert [record.message.seq for record in records if isinstance(record, Handover)] == numbers


def test_a_decoder_that_cannot_be_made_is_told(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    outlet, channel = ends
    feed, records = images(tmp_path, 1), list[Any]()
    pipeline = Worker(pipeline_plan(Unbuilt), feed, outlet)
    pipeline.start()
    eventually(lambda: "engine_failed" in reasons(heard(channel, records)), "state")
    assert "a fault of a plug-in" in pipeline.running().why
    pipeline.close()


def test_a_model_that_cannot_be_loaded_holds_up_no_other_pipeline(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    outlet, channel = ends
    feed, records = images(tmp_path, 5), list[Any]()
    broken = pipeline_plan()
    broken = replace(broken, name="yard", model=replace(broken.model, path="/nowhere"))
    pipelines = [Worker(plan, feed, outlet) for plan in (broken, pipeline_plan())]
    for pipeline in pipelines:
        pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: outlet.numbered("door") == 5, "five results")
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source")
    for pipeline in pipelines:
        pipeline.close()
    feed.close()


class Ending(Feed):
    """Ends between handing over its last frame, the second, and the next question."""

    def next(self, cursor: Cursor, timeout: float) -> Frame | None:
        frame = super().next(cursor, timeout)
        if frame is not None and frame.number == 2:
            self.trouble("", ended=True)
        return frame


def test_the_last_frame_of_a_source_counts_too(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    outlet, channel = ends
    feed, records = Ending(images(tmp_path, 2).plan), list[Any]()
    pipeline = Worker(pipeline_plan(), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source")
    pipeline.close()
    feed.close()
    assert len([record for record in records if isinstance(record, Handover)]) == 2


def test_a_frame_that_cannot_be_copied_costs_no_more_than_that_frame(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    def no_memory() -> Frame:
        raise MemoryError

    outlet, channel = ends
    feed, records = images(tmp_path, 1), list[Any]()  # of which nobody reads: the frames are given by hand
    pipeline = Worker(pipeline_plan(), feed, outlet)
    pipeline.start()
    eventually(lambda: pipeline.running().sha, "a model", 20)
    feed.offer(1, no_memory)
    eventually(lambda: "engine_failed" in reasons(heard(channel, records)), "the fault")
    pixels = np.zeros((48, 64, 3), np.uint8)
    feed.offer(2, lambda: Frame(pixels, "bgr", time.time(), time.monotonic(), 2))
    eventually(lambda: outlet.numbered("door") == 1, "a result of the next frame")
    pipeline.close()
    feed.close()


def test_a_file_that_had_to_wait_for_the_model_is_not_lost_nor_is_a_frame_of_it(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    outlet, channel = ends
    feed, records = images(tmp_path, 4), list[Any]()
    pipeline = Worker(replace(pipeline_plan(SlowAtFirst), ahead="always"), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source", 30)
    pipeline.close()
    feed.close()
    assert len([record for record in records if isinstance(record, Handover)]) == 4
    assert "source_lost" not in reasons(records)


def test_a_lossless_source_that_nobody_wants_waits(tmp_path: Path) -> None:
    feed = images(tmp_path, 5)
    feed.start(local_capture(feed.plan))
    eventually(lambda: feed.health().state == "ok", "first frame")
    cursor = feed.attach()
    assert feed.blocked() is None
    seen = [frame.number for _ in range(4) if (frame := feed.next(cursor, 5.0)) is not None]
    feed.close()
    assert seen == [2, 3, 4, 5]


def test_a_pipeline_that_was_ended_says_nothing_more(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    outlet, channel = ends
    feed, records = images(tmp_path, 2), list[Any]()
    pipeline = Worker(pipeline_plan(Slow), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: pipeline.busy() > 0, "a frame under way", 20)
    pipeline.stop()
    heard(channel, records).clear()
    eventually(lambda: pipeline.busy() == 0, "end of the frame")
    pipeline.close()
    feed.close()
    assert heard(channel, records) == []


def test_a_long_reason_fits_the_wire(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    outlet, channel = ends
    plan = pipeline_plan()
    plan = replace(plan, model=replace(plan.model, path="/nowhere" * 300))
    pipeline = Worker(plan, images(tmp_path, 1), outlet)
    pipeline.start()
    records = list[Any]()
    eventually(lambda: "engine_failed" in reasons(heard(channel, records)), "state")
    reason = pipeline.running().why
    pipeline.close()
    assert 0 < len(reason) <= 500


def test_a_state_holds_on_between_slow_frames_and_says_so(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    """One picture in five minutes: what is known is said again with the time, so that nobody takes it for old."""
    outlet, channel = ends
    feed, records = images(tmp_path, 2, every=300.0, realtime=True), list[Any]()
    pipeline = Worker(replace(pipeline_plan(), heartbeat=0.2), feed, outlet)
    pipeline.start()
    feed.start(local_capture(feed.plan))

    def known() -> list[Any]:
        found = [record for record in heard(channel, records) if isinstance(record, StateSnapshot)]
        return [record for record in found if record.state.reason is ABSENT]

    eventually(lambda: len(known()) >= 3, "the same state three times", 30)
    pipeline.close()
    feed.close()
    said = known()
    assert outlet.numbered("door") == 1, "there was one frame"
    assert {str(record.state.counts) for record in said} == {"{}"}
    assert sorted({record.state.ts for record in said}) == [record.state.ts for record in said]
    assert [record.at for record in said] == sorted(record.at for record in said)
