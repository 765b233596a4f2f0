"""``edge-infer replay``: run the configured pipelines over a recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.as_owner import act_as_owner_of, check_output, make_output, shut_in
from edge_infer.contract.codec import dumps, encode, replace
from edge_infer.errors import ConfigError
from edge_infer.platform.paths import DEFAULT_CONFIG, hinted
from edge_infer.sandbox.identity import Identity
from edge_infer.sandbox.needs import replay_fence

if TYPE_CHECKING:
    from edge_infer.engine.replay.replay import Replayed
    from edge_infer.plan.records import PipelinePlan, Plan, SourcePlan

SAME_TIME: Final = 1.0
"""Most seconds between two events of two configurations that count as the same event."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The pipelines for one recording: the first reads it, the others are below it. Only ``shown`` ones are printed.

    ``paced``: whether limits of frames a second apply.
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
    parser.epilog = "example: edge-infer replay -c config.yaml --source yesterday.mp4 --annotate out.mp4"


def run(args: argparse.Namespace) -> int:
    """Print one line of JSON a message, or the events in which two configurations differ."""
    if args.compare:
        return _compare(args)
    user = act_as_owner_of(args, hinted(args.config.absolute()), make_output(args.annotate))
    plan = _plan(args.config)
    check_output(args.annotate, user)
    _shut_in(args, user, [plan])
    from edge_infer.engine.replay.replay import KINDS

    chosen = list(_chosen(plan, args.pipeline, args.source))
    if args.annotate and sum(len(each.shown) for each in chosen) != 1:
        names = ", ".join(pipeline.name for each in chosen for pipeline in each.shown)
        raise ConfigError(f"--annotate draws one pipeline: choose one of {names} with --pipeline")
    for each in chosen:
        for replayed in _drawn(each, args.annotate) if args.annotate else each.run():
            for said in replayed.said:
                topic = f"{each.topic}/{replayed.pipeline}/{KINDS[type(said)]}"
                line = {"topic": topic, "payload": encode(said)}
                print(dumps(line).decode(), flush=True)
    return 0


def _plan(config: Path) -> Plan:
    from edge_infer.config.in_child import compile_in_child

    compiled = compile_in_child(config)
    if compiled.plan is None:
        for problem in compiled.problems:
            print(problem, file=sys.stderr)
        raise ConfigError(f"{config} cannot be used as it is")
    return compiled.plan


def _shut_in(args: argparse.Namespace, user: Identity | None, plans: list[Plan]) -> None:
    """Lock the process before it loads any source or model."""
    fence = replay_fence(plans, args.source)
    written = () if args.annotate is None else (str(args.annotate.absolute()),)
    shut_in(args, user, replace(fence, writes=(*fence.writes, *written)))


def _chosen(plan: Plan, name: str | None, recording: str | None) -> Iterator[_Chosen]:
    """Yield each pipeline with a source of its own, the pipelines below it, and its recording."""
    from edge_infer.config.recording import digest, plays, recorded

    names = [pipeline.name for pipeline in plan.pipelines]
    if name is not None and name not in names:
        raise ConfigError(f"there is no pipeline {name!r}; known: {', '.join(names) or 'none'}")
    for root in (pipeline for pipeline in plan.pipelines if pipeline.crops is None):
        below = plan.below(root) if name is None else plan.way(root, name)
        if below is not None:
            source = next(source for source in plan.sources if source.name == root.source)
            changed = recorded(source, recording)
            paced = recording is not None or plays(source)
            shown = below if name is None else below[-1:]
            yield _Chosen(below, shown, changed, digest(plan.digest, changed), plan.mqtt.topic, paced=paced)


def _drawn(chosen: _Chosen, path: Path) -> Iterator[Replayed]:
    """Yield the same frames, and draw each one into a video."""
    from edge_infer.engine.replay.video_writer import Film

    if chosen.source.gives != "image":
        raise ConfigError(f"--annotate draws into pictures; source {chosen.source.name} gives {chosen.source.gives}")
    with Film(path, *chosen.shown) as film:
        for replayed in chosen.run():
            film.add(replayed)
            yield replayed


def _compare(args: argparse.Namespace) -> int:
    """Print the events that only one of two configurations reports, in order."""
    user = act_as_owner_of(args, hinted(args.compare[0].absolute()))
    plans = [_plan(config) for config in args.compare]
    _shut_in(args, user, plans)
    from edge_infer.engine.replay.replay import difference, told

    one, other = (
        [event for each in _chosen(plan, args.pipeline, args.source) for event in told(each.run())]
        for plan in plans
    )  # fmt: skip
    print(f"--- {args.compare[0]}: {len(one)} events")
    print(f"+++ {args.compare[1]}: {len(other)} events")
    for mark, found in difference(one, other, SAME_TIME):
        print(f"{mark} {found}")
    return 0
