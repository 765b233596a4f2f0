"""``edge-infer replay``: run the configured pipelines over a recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import argument
from edge_infer.cli.as_owner import CommandOutput, act_on, shut_in, start_afresh
from edge_infer.cli.output import say
from edge_infer.contract.codec import dumps, encode, replace
from edge_infer.errors import ConfigError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.identity import Identity
from edge_infer.sandbox.needs import replay_fence

if TYPE_CHECKING:
    from edge_infer.engine.replay.replay import Replayed
    from edge_infer.plan.records import PipelinePlan, Plan, SourcePlan

MAX_RATE: Final = 1000.0
"""Maximum frames per second of a file of detections. `MAX_SIDE` is the maximum side length of its pictures in
pixels."""
MAX_SIDE: Final = 65_535
SAME_TIME: Final = 1.0
"""Maximum seconds between two events of two configurations that count as the same event."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Pipelines for one recording: the first reads it, the others are cascades below it. Only ``shown`` is printed.

    ``paced``: limits of frames per second apply.
    """

    pipelines: tuple[PipelinePlan, ...]
    shown: tuple[PipelinePlan, ...]
    source: SourcePlan
    boot: str
    topic: str
    paced: bool

    def run(self) -> Iterator[Replayed]:
        from edge_infer.engine.replay.replay import replay

        names = {pipeline.name for pipeline in self.shown}
        played = replay(self.pipelines, self.source, self.boot, paced=self.paced)
        return (replayed for replayed in played if replayed.pipeline in names)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    inputs = "a video, pictures, a .wav, .csv or .txt file; default: the configured sources"
    parser.add_argument("--source", metavar="INPUT", help=inputs)
    parser.add_argument("--pipeline", metavar="P", help="only this pipeline")
    film = "write a video of one pipeline with the results drawn in"
    parser.add_argument("--annotate", metavar="OUT.mp4", type=Path, help=film)
    both = "print the events that only one of two configurations reports"
    parser.add_argument("--compare", metavar=("A", "B"), type=Path, nargs=2, help=both)
    boxes = "boxes instead of a model, in MOTChallenge's format; needs --fps, --size and one pipeline"
    parser.add_argument("--detections", metavar="BOXES.txt", type=Path, help=boxes)
    rate = "with --detections: frames a second of the file"
    parser.add_argument("--fps", metavar="N", type=argument(_frame_rate), help=rate)
    shape = "with --detections: width and height of the pictures in pixels"
    parser.add_argument("--size", metavar="WxH", type=argument(_frame_size), help=shape)
    ids = "with --detections: also write the ids, in the same format"
    parser.add_argument("--mot", metavar="OUT.txt", type=Path, help=ids)
    parser.epilog = "example: edge-infer replay -c config.yaml --source yesterday.mp4 --annotate out.mp4"


def run(args: argparse.Namespace) -> int:
    """Print one line of JSON for each message, or the events in which two configurations differ."""
    start_afresh(args, *(args.compare or [args.config]))
    if args.detections is not None:
        return _detections(args)
    for option in ("fps", "size", "mot"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option} belongs to --detections: name the file with the boxes")
    if args.compare:
        return _compare(args)
    output = CommandOutput(args.annotate)
    user = act_on(args, args.config, prepare=output.prepare)
    plan = _plan(args.config, args.source)
    output.make(user)
    _shut_in(args, user, [plan])
    chosen = list(_chosen(plan, args.pipeline, args.source))
    if args.annotate and sum(len(each.shown) for each in chosen) != 1:
        names = ", ".join(pipeline.name for each in chosen for pipeline in each.shown)
        raise ConfigError(f"--annotate draws one pipeline: choose one of {names} with --pipeline")
    for each in chosen:
        for replayed in _drawn(each, args.annotate) if args.annotate else each.run():
            _print(replayed, each.topic)
    return 0


def _print(replayed: Replayed, topic: str) -> None:
    from edge_infer.engine.replay.replay import KINDS

    for said in replayed.said:
        line = {"topic": f"{topic}/{replayed.pipeline}/{KINDS[type(said)]}", "payload": encode(said)}
        print(dumps(line).decode(), flush=True)


def _plan(config: Path, recording: str | None) -> Plan:
    """Return the plan. If a recording replaces the sources, the files and programs that they need may be missing."""
    from edge_infer.config.in_child import compile_in_child

    compiled = compile_in_child(config, replayed=recording is not None)
    if compiled.plan is None:
        say(compiled.problems, sys.stderr)
        raise ConfigError(f"cannot use {config} as it is")
    return compiled.plan


def _shut_in(args: argparse.Namespace, user: Identity | None, plans: list[Plan]) -> None:
    """Lock the process in its sandbox before it loads any source or model."""
    fence = replay_fence(plans, args.source)
    written = () if args.annotate is None else (str(args.annotate.absolute()),)
    shut_in(args, user, replace(fence, writes=(*fence.writes, *written)))


def _chosen(plan: Plan, name: str | None, recording: str | None) -> Iterator[_Chosen]:
    """Yield each pipeline with a source of its own, the pipelines below it, and its recording.

    Without a ``name``, the recording is for the pipelines with the same kind of readings, if there are any.
    """
    from edge_infer.config.recording import digest, fits, plays, recorded

    names = [pipeline.name for pipeline in plan.pipelines]
    if name is not None and name not in names:
        raise ConfigError(f"there is no pipeline {name!r}; known: {', '.join(names) or 'none'}")
    sources = {source.name: source for source in plan.sources}
    roots = [pipeline for pipeline in plan.pipelines if pipeline.crops is None]
    if name is None and recording is not None:
        roots = [each for each in roots if fits(sources[each.source], recording)] or roots
    for root in roots:
        below = plan.below(root) if name is None else plan.way(root, name)
        if below is not None:
            changed = recorded(sources[root.source], recording)
            paced = recording is not None or plays(sources[root.source])
            shown = below if name is None else below[-1:]
            yield _Chosen(below, shown, changed, digest(plan.digest, changed), plan.mqtt.topic, paced=paced)


def _drawn(chosen: _Chosen, path: Path) -> Iterator[Replayed]:
    """Yield the frames unchanged, and draw each one into a video."""
    from edge_infer.engine.replay.video_writer import Film

    if chosen.source.gives != "image":
        raise ConfigError(f"--annotate draws into pictures; source {chosen.source.name} gives {chosen.source.gives}")
    with Film(path, *chosen.shown) as film:
        for replayed in chosen.run():
            film.add(replayed)
            yield replayed


def _frame_rate(text: str) -> float:
    rate = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
    if not 0.0 < rate <= MAX_RATE:
        raise ValueError(f"{text} is not a number of frames a second, above 0 and at most {MAX_RATE:g}")
    return rate


def _frame_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= MAX_SIDE and 0 < int(height) <= MAX_SIDE):
        raise ValueError(f"{text} is not a size such as 1280x720, each side from 1 to {MAX_SIDE} pixels")
    return int(width), int(height)


def _detections(args: argparse.Namespace) -> int:
    """Print one line of JSON for each message of a pipeline that gets its boxes from a file."""
    for option in ("source", "annotate", "compare"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option} needs pictures: remove it, or remove --detections")
    if args.fps is None or args.size is None:
        raise ConfigError("--detections needs --fps N and --size WxH: the file does not contain them")
    output = CommandOutput(args.mot, option="--mot")
    user = act_on(args, args.config, prepare=output.prepare)
    plan = _plan(args.config, str(args.detections))
    output.make(user)
    written = () if args.mot is None else (str(args.mot.absolute()),)
    shut_in(args, user, Fence(files=(str(args.detections.absolute()),), writes=written))
    from edge_infer.config.recording import digest_of
    from edge_infer.engine.events.followed import Followed
    from edge_infer.engine.replay.detections import MotFile, read_boxes
    from edge_infer.engine.replay.replay import replay_detections

    pipeline = _detector(plan, args.pipeline, numbered=args.mot is not None)
    boxes = read_boxes(args.detections, args.size, pipeline)
    say(boxes.notes, sys.stderr)
    boot = digest_of(f"{plan.digest} {args.fps} {args.size}", [args.detections])
    mot = MotFile() if args.mot is not None else None
    for replayed in replay_detections(pipeline, boxes, args.fps, boot):
        _print(replayed, plan.mqtt.topic)
        if mot is not None and isinstance(replayed.findings, Followed):
            mot.add(replayed.frame.number, replayed.findings)
    if mot is not None:
        mot.write(args.mot)
    return 0


def _detector(plan: Plan, name: str | None, *, numbered: bool) -> PipelinePlan:
    """Return the pipeline that gets its boxes from a file."""
    fitting = [each for each in plan.pipelines if each.model.task == "detection" and each.crops is None]
    chosen = [each for each in fitting if name is None or each.name == name]
    if len(chosen) != 1:
        known = ", ".join(each.name for each in fitting) or "none"
        raise ConfigError(
            f"--detections needs one pipeline that detects objects in frames; --pipeline P, P of: {known}"
        )
    if numbered and chosen[0].track is None:
        raise ConfigError(f"--mot writes ids: pipeline {chosen[0].name} needs track: true")
    return chosen[0]


def _compare(args: argparse.Namespace) -> int:
    """Print the events that only one of two configurations reports, sorted by time."""
    user = act_on(args, *args.compare)
    plans = [_plan(config, args.source) for config in args.compare]
    _shut_in(args, user, plans)
    from edge_infer.engine.replay.replay import difference, told

    one, other = (
        [event for each in _chosen(plan, args.pipeline, args.source) for event in told(each.run())]
        for plan in plans
    )  # fmt: skip
    print(f"--- {args.compare[0]}: {len(one)} events")
    print(f"+++ {args.compare[1]}: {len(other)} events")
    say(f"{mark} {found}" for mark, found in difference(one, other, SAME_TIME))
    return 0
