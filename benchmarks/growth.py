"""Measures the cost of a frame by the size of the picture and the numbers of boxes, pipelines and waiting messages.

usage: scripts/bench --growth [--only WORD]

Python code is counted in instructions (see `counts.py`), which noise does not change. Work on pixels is timed
alternately with a run of the shipped model. The result is the fastest time of many, as a share of the fastest run.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count as numbers
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from counts import ROOT, Counter

from edge_infer.bench.frames import Memory, make_frames, memory_plan
from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Event, Result
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.input.frame_receiver import FROM_READER, FrameReceiver
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.output.health import PipelineWatch
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.pipeline import FramePipeline
from edge_infer.engine.records import Boxes
from edge_infer.engine.tasks import task_class
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Transform
from edge_infer.frames.pixels import Orientation
from edge_infer.ipc.channel import MAX_RESULT_BYTES, Channel
from edge_infer.ipc.messages import Acked, Handover, StateSnapshot, handover
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import EventsPlan, InputPlan, MqttPlan, OutboxPlan, PipelinePlan, Plan, TrackPlan
from edge_infer.platform.clock import new_boot, uptime
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.outbox.scheduler import OutboundScheduler
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.retained import Retained
from edge_infer.publisher.timestamps import Clock
from edge_infer.readers.frame_slots import TO_READER, SlotWriter
from edge_infer.readers.sources import Picture

MODEL: Final = ROOT / "models" / "face-detect" / "1.0.0"
SIZES: Final = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))
BOXES: Final = (0, 1, 2, 5, 10, 20, 50)
PIPELINES: Final = (1, 2, 4, 8)
WAITING: Final = (0, 1000, 10_000)
TURNS: Final = 40
WARM, FRAMES = 20, 20
MOST: Final = 1 << 28


def main() -> int:
    """Print the chosen tables; return 0."""
    parser = argparse.ArgumentParser(prog="scripts/bench --growth")
    parser.add_argument("--only", default="", metavar="WORD", help="tables with this word in their title")
    args = parser.parse_args()
    tables: dict[str, Callable[[], Sequence[Sequence[str]]]] = {
        "size of the picture, in shares of a run of the shipped model": by_size,
        "boxes in a frame, every result published, instructions of Python": by_boxes,
        "pipelines on one source, instructions of Python a frame and pipeline": by_pipelines,
        "messages that wait for a broker that is away, instructions of Python for one more": by_waiting,
    }
    for title, make in tables.items():
        if args.only.lower() in title:
            print(f"{title}\n")
            for row in make():
                print(f"  {row[0]:<12s}" + "".join(f"{cell:>24s}" for cell in row[1:]))
            print(flush=True)
    return 0


def by_size() -> list[list[str]]:
    """Measure the work on the pixels of a frame, from the reader to the input tensor."""
    rows = [["", "reader to engine", "to the input", "with a mask"]]
    with LoadedModel(_plan()) as model:
        for width, height in SIZES:
            frames = [frame for frame in make_frames(model, (width, height)) if isinstance(frame, Frame)]
            frame = frames[0]
            masked = replace(_plan(), mask=(((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0)),))
            serving = Serving(masked, "0be0c4", lambda: 1)
            model.find(frame)
            steps = {
                "run": model.interpreter.invoke,
                "way": _way(frames).__next__,
                "input": lambda frame=frame: model.feed(frame),
                "mask": lambda frame=frame, mask=serving.mask: model.feed(mask(frame)),
            }
            spent = _quickest(steps)
            shares = [f"{spent[step] / spent['run']:.3f}" for step in ("way", "input", "mask")]
            rows.append([f"{width}x{height}", *shares])
    return rows


def by_boxes() -> list[list[str]]:
    """Measure the work on findings, in the engine and in the publisher."""
    rows = [["", "engine", "engine, followed", "publisher"]]
    followed = replace(_plan(), track=TrackPlan(), events=EventsPlan())
    for boxes in BOXES:
        told, taken = _told(_plan(), boxes)
        with_ids, _ = _told(followed, boxes)
        rows.append([str(boxes), f"{told:.0f}", f"{with_ids:.0f}", f"{taken:.0f}"])
    return rows


def by_pipelines() -> list[list[str]]:
    """Measure the work of each of several pipelines on one source for a frame."""
    rows = [["", "a pipeline"]]
    rows += [[str(many), f"{_turns(many):.0f}"] for many in PIPELINES]
    return rows


def by_waiting() -> list[list[str]]:
    """Measure the publisher's work for a message that must wait, by the number of messages before it."""
    rows = [["", "publisher"]]
    rows += [[str(many), f"{_kept(many):.0f}"] for many in WAITING]
    return rows


def _plan() -> PipelinePlan:
    made = probe(ModelRequest("growth", str(MODEL)))
    if isinstance(made.input, InputPlan):
        made = replace(made, input=replace(made.input, scaling="fast"))  # as for frames of a camera
    return PipelinePlan("growth", "memory", made, made.threshold, publish="every", ahead="never")


def _quickest(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the minimum seconds of each step, measured alternately."""
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(TURNS):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            least[name] = min(least[name], time.perf_counter() - begun)
    return least


def _way(frames: list[Frame]) -> Any:
    """Pass another picture from the reader to the engine at each step; the engine holds the previous picture until
    then."""
    left, right = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    writer = SlotWriter(Channel(left, TO_READER), Orientation())
    receiver = FrameReceiver(Channel(right, FROM_READER, files=True))
    receiver.wait(0.0)
    taken = None
    for frame in cycle(frames):
        writer.write(Picture(frame.pixels, frame.color, time.time(), time.monotonic()))
        receiver.receive(1.0)
        taken = receiver.lend()
        yield taken


def _told(plan: PipelinePlan, boxes: int) -> tuple[float, float]:
    """Return the instructions per frame from the decoder to the publisher, and from the publisher to the broker."""
    ours, theirs = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    outlet = ResultSender(Channel(ours, (Acked,)), BOOT)
    voice, serving = PipelineOutput(plan.name, outlet), Serving(plan, BOOT, lambda: outlet.new_object(plan.name))
    steps = _Steps(voice, PipelineWatch(0.0))
    task, found = task_class(plan.model.task)(plan), _boxes(boxes)
    room, engine, publisher = (
        _Room(plan, Channel(theirs, (Handover, StateSnapshot), MAX_RESULT_BYTES)),
        Counter(),
        Counter(),
    )
    for number in range(WARM + FRAMES):
        now = 100.0 + number / 30
        frame = Frame(np.zeros((480, 640, 3), np.uint8), "bgr", 1.7e9 + now, now, number)
        transform = Transform.fit(frame.size, (192, 192), "stretch")
        sys.settrace(engine.trace if number >= WARM else None)
        steps.told(serving, task(found, transform, now), frame)
        sys.settrace(publisher.trace if number >= WARM else None)
        room.take()
        sys.settrace(None)
    return engine.instructions / FRAMES, publisher.instructions / FRAMES


class _Steps(FramePipeline):
    """The steps of a pipeline after the model."""

    def told(self, serving: Serving, findings: Any, frame: Frame) -> None:
        """Process one frame with these findings."""
        findings = self._voice.follow(serving, findings, frame)
        self._voice.publish(serving, serving.compose(findings, frame, frame.monotonic + 0.01), frame)
        self.settle(serving, frame)


class _Room:
    """The publisher's steps for a message from the engine, up to the acknowledgement of the broker."""

    def __init__(self, plan: PipelinePlan, channel: Channel, outbox: StoredOutbox | None = None) -> None:
        self._channel = channel
        self._egress = Egress(Clock(says=lambda _root: True))  # as on a board with a synchronized clock
        mqtt = MqttPlan("127.0.0.1", 1883, None, None, None, "edge-infer/growth", 1, "growth")
        self._egress.apply(Plan("0" * 64, "growth", "/nowhere", mqtt, (), (plan,)))
        self._outbox = StoredOutbox() if outbox is None else outbox  # an empty outbox is false in conditions
        self._outbox.started(BOOT)
        self._cargo = OutboundScheduler(Retained(), self._outbox, self._egress)
        self._cargo.limit(1 << 30)

    def take(self) -> None:
        """Take all records of the engine, and send and acknowledge all messages."""
        while (record := self._channel.receive()) is not None:
            if isinstance(record, Handover):
                self.keep(record)
        while message := self._cargo.next(MOST):
            self._cargo.acked(message)

    def keep(self, handover: Handover) -> None:
        """Put one message into the outbox."""
        message = handover.message
        series = MessageSeries(handover.pipeline, message.boot, "event" if isinstance(message, Event) else "result")
        payload = self._egress.admit(series.place, message, handover.at)
        assert payload is not None, "the guard at the exit refuses what this makes"
        taken = self._outbox.put(series, message.seq, payload, late=False)
        assert taken, "the outbox does not take what this makes"


def _boxes(number: int) -> Boxes:
    """Return ``number`` boxes beside each other, in a grid."""
    side = max(1, int(np.ceil(np.sqrt(number))))
    left, top = np.arange(number) % side / side, np.arange(number) // side / side
    corners = np.stack((left, top, left + 0.8 / side, top + 0.8 / side), axis=1).astype(np.float32)
    return Boxes(corners, np.linspace(0.9, 0.8, number, dtype=np.float32), np.zeros(number, np.int32), merged=True)


def _turns(many: int) -> float:
    """Return the instructions per frame and pipeline, with ``many`` pipelines on one source."""
    ours, theirs = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    outlet, other = (
        ResultSender(Channel(ours, (Acked,)), BOOT),
        Channel(theirs, (Handover, StateSnapshot), MAX_RESULT_BYTES),
    )
    feed, plan, counter = Feed(memory_plan("image")), _plan(), Counter()
    with LoadedModel(plan) as model:
        frames = make_frames(model, (320, 240))
    workers = [Worker(replace(plan, name=f"growth-{number}"), feed, outlet) for number in range(many)]
    for worker in workers:
        worker.turn()  # loads the model
    feed.start(Memory(frames))
    for number in range(WARM + FRAMES):
        sys.settrace(counter.trace if number >= WARM else None)
        for worker in workers:
            worker.turn()
        sys.settrace(None)
        while other.receive() is not None:
            pass
    for worker in workers:
        worker.stop()
    feed.close()
    for worker in workers:
        worker.close()
    other.close()
    return counter.instructions / (FRAMES * many)


def _kept(many: int) -> float:
    """Return the instructions for one more message while ``many`` wait, most of them on the disk."""
    plan, clock, counter = _plan(), _Clock(), Counter()
    ours, theirs = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    with tempfile.TemporaryDirectory() as folder, StoredOutbox(clock=clock) as outbox:
        room, seqs = _Room(plan, Channel(ours, ()), outbox), numbers(1)
        outbox.use(Path(folder), OutboxPlan())
        _settle(outbox, clock)  # the outbox is open now
        for number in range(many):
            room.keep(_handover(plan, next(seqs)))
            if number % 500 == 499:
                _settle(outbox, clock)
        for _ in range(FRAMES):
            handover = _handover(plan, next(seqs))
            sys.settrace(counter.trace)
            room.keep(handover)
            outbox.step()
            outbox.due()
            sys.settrace(None)
    Channel(theirs, ()).close()
    return counter.instructions / FRAMES


class _Clock:
    """An uptime that the caller advances."""

    def __init__(self) -> None:
        self.now = uptime()

    def __call__(self) -> float:
        return self.now


def _settle(outbox: StoredOutbox, clock: _Clock) -> None:
    """Let a second pass, and wait until the disk has done its work."""
    clock.now += 1.0
    patience = 10.0
    outbox.step()
    while select.select(outbox.files(), [], [], patience)[0]:
        outbox.step()
        patience = 0.05


def _handover(plan: PipelinePlan, seq: int) -> Handover:
    model = plan.model
    result = Result(
        1, "2026-11-25T08:45:12.345Z", BOOT, seq, model.title, model.sha256[:8], "detection", 12.3, objects=()
    )
    return handover(plan.name, result, uptime())


BOOT: Final = new_boot()


if __name__ == "__main__":
    sys.exit(main())
