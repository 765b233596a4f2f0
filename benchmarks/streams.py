"""Measures many cameras on the available cores: their total rate against one stream, and the age of the outcomes.

usage: scripts/bench --streams [--models DIR] [--file NAME] [--streams N] [--fps N] [--seconds N] [--rounds N] [--json
FILE]

First, one stream runs alone, with frames in memory as fast as possible, with one thread and with one thread per core.
Then all streams run, each at the frame rate of a camera, which offers frames whether they are taken or not. They run by
turns, scheduled by the kernel alone, and by turns with one prioritized stream. All variants are measured in interleaved
rounds of one run; the table shows medians of the rounds. All streams use the same model, so differences come from the
scheduling.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from edge_infer.bench.frames import memory_plan
from edge_infer.bench.measure import machine, pss
from edge_infer.bench.receiver import taker
from edge_infer.bench.runs import START, Whole, frames_for, listen
from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Result
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.interpreter import backend_name
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Captured
from edge_infer.ipc.channel import Channel
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, PipelinePlan
from edge_infer.platform.clock import uptime

ENOUGH: Final = 1 << 20
"""Number of cores with which no pipeline would have to wait for a turn."""
SIZE: Final = (1280, 720)


@dataclass(frozen=True, slots=True)
class Shared:
    """The streams in one round: outcomes a second and the median age of an outcome in ms, for each stream.

    ``memory`` is in bytes, of the process (PSS).
    """

    rates: tuple[float, ...]
    ages: tuple[float, ...]
    memory: int


@dataclass(frozen=True, slots=True)
class Round:
    """Frames a second of one stream alone, then the results of all streams together."""

    alone: float
    alone_threads: int
    turns: Shared
    kernel: Shared
    first: Shared


class Live:
    """A capture that offers pictures at a fixed rate, whether they are taken or not."""

    def __init__(self, frames: list[Captured], fps: float, offset: float) -> None:
        self._frames = frames
        self._interval = 1.0 / fps
        self._offset = offset

    def interrupt(self) -> None:
        """Do nothing, because no wait is long."""

    def run(self, feed: Feed) -> None:
        """Offer pictures until the feed is closed."""
        begun = time.monotonic() + self._offset
        for number in count(1):
            feed.pause(max(0.0, begun + number * self._interval - time.monotonic()))
            if feed.stopping:
                return
            frame = self._frames[number % len(self._frames)]
            now = replace(frame, wall=time.time(), monotonic=time.monotonic(), number=number)
            feed.offer(number, lambda now=now: now)  # type: ignore[misc]


class Ages(ResultSender):
    """Records the age of each result in ms when it was handed over."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, "0be0c4")
        self.ages: dict[str, list[float]] = defaultdict(list)

    def hand_over(self, pipeline: str, make: Callable[[int], Result], at: float | None = None) -> int:
        """Record the age, and hand over the result as `ResultSender` does."""
        self.ages[pipeline].append((uptime() - (at or 0.0)) * 1000.0)
        return super().hand_over(pipeline, make, at)


def shared(plans: list[PipelinePlan], frames: list[Captured], fps: float, seconds: float, *, turns: bool) -> Shared:
    """Run one live stream for each plan, for ``seconds`` after each has had an outcome.

    Without ``turns``, each stream has its own model and runs it whenever there is a frame.
    """
    among, pool = (Turns(), InterpreterPools()) if turns else (Turns(ENOUGH), None)
    with taker() as channel, ExitStack() as stack:
        outlet = Ages(channel)
        for number, plan in enumerate(plans):
            feed = Feed(memory_plan("image"))
            worker = Worker(plan, feed, outlet, turns=among, pool=pool)
            stack.callback(worker.close)
            stack.callback(feed.close)
            stack.callback(worker.stop)
            worker.start()
            feed.start(Live(frames, fps, number / len(plans) / fps))
        limit = time.monotonic() + START
        while len(outlet.ages) < len(plans) and time.monotonic() < limit:
            listen(outlet, channel, 0.01)
        before = {name: len(ages) for name, ages in outlet.ages.items()}
        begun = time.monotonic()
        while (spent := time.monotonic() - begun) < seconds:
            listen(outlet, channel, min(0.05, seconds - spent))
        memory = pss()
        found = [outlet.ages[plan.name][before[plan.name] :] for plan in plans]
    return Shared(
        tuple(len(ages) / spent for ages in found),
        tuple(median(ages) if ages else float("inf") for ages in found),
        memory,
    )


def measure(plan: PipelinePlan, frames: list[Captured], args: argparse.Namespace) -> list[Round]:
    """Return the results of all rounds."""
    cores = len(os.sched_getaffinity(0))
    plans = [replace(plan, name=f"stream-{number}") for number in range(args.streams)]
    firsts = [replace(plans[0], priority=1), *plans[1:]]
    wholes = {threads: Whole(replace(plan, threads=threads), frames) for threads in sorted({1, cores})}
    rounds = []
    for _ in range(args.rounds):
        with taker() as channel:
            alone = {threads: whole.run(args.seconds, channel).rate for threads, whole in wholes.items()}
        best = max(alone, key=lambda threads: alone[threads])
        rounds.append(
            Round(
                alone[best],
                best,
                shared(plans, frames, args.fps, args.seconds, turns=True),
                shared(plans, frames, args.fps, args.seconds, turns=False),
                shared(firsts, frames, args.fps, args.seconds, turns=True),
            )
        )
    return rounds


def table(rounds: list[Round], fps: float) -> str:
    """Return the table as text."""
    threads = rounds[0].alone_threads
    columns = ("all/one", "a second", "most/least", "age, ms", "most/least", "oldest", "PSS, MB")
    lines = [
        f"one stream alone: {median(each.alone for each in rounds):.1f} a second, threads: {threads}, the best for it",
        " " * 26 + "".join(f"{column:>11s}" for column in columns),
    ]
    for title, pick in (("by turns", "turns"), ("as the kernel shares out", "kernel")):
        lines.append(_line(title, [(each.alone, getattr(each, pick)) for each in rounds]))
    mine = median(each.first.rates[0] for each in rounds)
    others = median(median(each.first.rates[1:]) for each in rounds)
    lines.append(
        f"by turns, one with priority: 1: {mine:.1f} of its {fps:g} a second, {others:.1f} of each other; their ages "
        f"{median(each.first.ages[0] for each in rounds):.0f} and "
        f"{median(median(each.first.ages[1:]) for each in rounds):.0f} ms"
    )
    return "\n".join(lines)


def _line(title: str, found: list[tuple[float, Shared]]) -> str:
    values = (
        (median(sum(every.rates) / max(one, 1e-9) for one, every in found), 2),
        (median(sum(every.rates) for _, every in found), 1),
        (median(max(every.rates) / max(min(every.rates), 1e-9) for _, every in found), 2),
        (median(median(every.ages) for _, every in found), 1),
        (median(max(every.ages) / min(every.ages) for _, every in found), 2),
        (median(max(every.ages) for _, every in found), 1),
        (median(every.memory for _, every in found) / 1e6, 1),
    )
    return f"{title:26s}" + "".join(f"{value:11.{decimals}f}" for value, decimals in values)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; return 0, or 2 if the model is missing."""
    args = _parser().parse_args(words)
    source = next((each for each in Path(args.models or ".").rglob(args.file)), None)
    if source is None:
        print(f"there is no {args.file} below {args.models}; --models says where it is", file=sys.stderr)
        return 2
    made = probe(ModelRequest("streams", str(source)))
    if isinstance(made.input, InputPlan):
        made = replace(made, input=replace(made.input, scaling="fast"))  # as for frames of a camera
    plan = PipelinePlan("alone", "memory", made, made.threshold, publish="every")
    print(f"{machine()}, {len(os.sched_getaffinity(0))} cores, {backend_name()}, Python {sys.version.split()[0]};")
    print(f"{args.streams} streams of {args.fps:g} a second, {SIZE[0]}x{SIZE[1]}, each {args.file};")
    print(f"{args.rounds} rounds by turns of {args.seconds:g} s each\n", flush=True)
    rounds = measure(plan, frames_for(plan, SIZE), args)
    print(table(rounds, args.fps))
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in rounds]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench --streams")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the model")
    parser.add_argument(
        "--file", default="coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite", metavar="NAME", help="(%(default)s)"
    )
    parser.add_argument("--streams", type=int, default=8, metavar="N", help="(%(default)s)")
    parser.add_argument("--fps", type=float, default=30.0, metavar="N", help="of each (%(default)g)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="N", help="of each, each time (%(default)g)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything of all rounds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
