"""Measures ``motion`` on a clip whose first half is still: saved inferences, changed events, and the cost of the
gate."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_infer.contract.codec import JsonValue, replace
from edge_infer.contract.messages import Result
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.model.loaded_model import LoadedModel, Look
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.replay.replay import Replayed, difference, replay, told
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Box
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import EventsPlan, MotionPlan, PipelinePlan, SourcePlan, TrackPlan
from edge_infer.readers.sources import source_target

MODEL: Final = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
CLIP: Final = "vtest_first160.avi"
FPS: Final = 10.0
NOISE: Final = 3.0
"""Standard deviation of the sensor noise that is added to the still half."""
SAME_TIME: Final = 1.0
"""Maximum seconds by which the same event may be reported earlier or later."""
SAME_PLACE: Final = 0.3
MOST_COST: Final = 0.01
"""Maximum cost of the gate as a share of a run of the model, both when the model runs and when the run is saved."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A run with the gate compared with a run without: shares of saved inferences, differences, longest loss in
    seconds."""

    saved: float
    saved_still: float
    events: int
    differences: tuple[str, ...]
    lost: float


def report(assets: Path, seconds: float) -> bool:
    """Print the figures for halves of ``seconds``; return whether they are as expected."""
    motion = MotionPlan()
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder, "half.avi")
        write_half_still(assets / "video" / CLIP, half, seconds)
        right = _print(f"still for {seconds:g} s, then moving", compare(assets, half, motion, seconds), motion)
        right &= _print("moving all the time", compare(assets, assets / "video" / CLIP, motion, 0.0), motion)
        looking, passing = gate_cost(assets, half)
    model = MODEL.partition("_1.0")[0]
    print(f"the gate takes {looking:.2%} of a run of {model} where it looks, {passing:.2%} where it saves the run")
    return right and max(looking, passing) <= MOST_COST


def write_half_still(clip: Path, path: Path, seconds: float) -> None:
    """Write the first picture for ``seconds``, with new noise in each frame, then ``seconds`` of the clip."""
    frames = list(_pictures(clip))[: round(seconds * FPS)]
    dice = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, frames[0].shape[1::-1])
    for _ in range(round(seconds * FPS)):
        noisy = frames[0] + dice.normal(0.0, NOISE, frames[0].shape)
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    for frame in frames:
        writer.write(frame)
    writer.release()


def compare(assets: Path, clip: Path, motion: MotionPlan, still: float) -> Compared:
    """Run a clip, whose first ``still`` seconds are still, with and without the gate."""
    full, gated = (list(_run(assets, clip, each)) for each in (None, motion))
    left_out = [said.still is True for one in gated for said in one.said if isinstance(said, Result)]
    quiet = left_out[: round(still * FPS)]
    before, now = told(full), told(gated)
    return Compared(
        sum(left_out) / len(left_out),
        sum(quiet) / max(1, len(quiet)),
        len(before),
        tuple(f"{mark} {found}" for mark, found in difference(before, now, SAME_TIME)),
        _longest_loss(full, gated),
    )


def gate_cost(assets: Path, clip: Path) -> tuple[float, float]:
    """Return the mean time of the gate as a share of a run of the model, for frames on which the model runs and for the
    others.

    Both are measured alternately on the same frames, in processor time of one thread, as in the engine. So the waiting
    of a thread on a busy machine does not count.
    """
    cv2.setNumThreads(1)
    looking, passing, runs = list[float](), list[float](), list[float]()
    with closing(Serving(_plan(assets, MotionPlan()), "abcdef", itertools.count(1).__next__)) as serving:
        serving.load()
        model, gate = serving.model, serving.gate
        for number, pixels in enumerate(_pictures(clip)):
            frame = Frame(pixels, "bgr", number / FPS, number / FPS, number + 1)
            begun = time.thread_time()
            chosen = gate.choose(model.parts(frame), serving.follow)
            (looking if chosen else passing).append(time.thread_time() - begun)
            look, seconds = _timed_look(model, frame)
            runs.append(seconds)
            if chosen:
                looked = model.join(gate.joined(chosen, [look], frame.instant.moment))
                gate.stand(model.postprocess(*looked, frame.monotonic))
            assert gate.standing is not None
            serving.follow(gate.standing, frame.instant)
    run = statistics.fmean(runs)
    return statistics.fmean(looking) / run, statistics.fmean(passing) / run


def _timed_look(model: LoadedModel, frame: Frame) -> tuple[Look, float]:
    """Return the model's outputs for a frame, and the seconds of the run without pre- and post-processing."""
    transform = model.feed(frame)
    begun = time.thread_time()
    tensors = model.interpreter.invoke()
    seconds = time.thread_time() - begun
    return (model.decode(tensors), transform), seconds


def _print(title: str, found: Compared, motion: MotionPlan) -> bool:
    print(
        f"motion, {title}: {found.saved:.0%} of the inferences saved ({found.saved_still:.0%} while it is still); "
        f"{len(found.differences)} of {found.events} events differ by more than {SAME_TIME:g} s; "
        f"nobody lost for longer than {found.lost:.1f} s",
        flush=True,
    )
    for each in found.differences:
        print(f"    {each}")
    return found.lost <= motion.still_check + 1 / FPS


def _run(assets: Path, clip: Path, motion: MotionPlan | None) -> Iterator[Replayed]:
    options: dict[str, JsonValue] = {"file": str(clip), "realtime": False}
    source = SourcePlan("clip", "video", source_target("video"), live=False, network=False, options=options)
    return replay((_plan(assets, motion),), source, "abcdef", paced=False)


def _plan(assets: Path, motion: MotionPlan | None) -> PipelinePlan:
    labels = str(assets / "labels" / "coco_labels.txt")
    model = resolve(ModelRequest("people", str(assets / "models" / MODEL), labels_file=labels))
    plan = PipelinePlan("clip", "clip", model, 0.4, labels=("person",), publish="every", motion=motion)
    return replace(plan, track=TrackPlan(), events=EventsPlan())


def _pictures(clip: Path) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    capture = cv2.VideoCapture(str(clip))
    while (read := capture.read())[0]:
        yield np.asarray(read[1], np.uint8)
    capture.release()


def _longest_loss(full: list[Replayed], gated: list[Replayed]) -> float:
    """Return the longest time in seconds for which only the run without the gate reported a person at a place."""
    worst, running = 0, dict[int, int]()
    for one, other in zip(full, gated, strict=True):
        there = [box for _, box in _boxes(other)]
        lost = {number for number, box in _boxes(one) if not any(_overlap(box, found) for found in there)}
        running = {number: running.get(number, 0) + 1 for number in lost}
        worst = max(worst, *running.values(), 0)
    return worst / FPS


def _boxes(one: Replayed) -> list[tuple[int, Box]]:
    assert isinstance(one.findings, Followed)
    return [(item.number, item.box) for item in one.findings.detections.objects if item.number]


def _overlap(one: Box, other: Box) -> bool:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common >= SAME_PLACE * (areas - common)
