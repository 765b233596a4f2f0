"""``edge-infer bench``: measure the bare interpreter and the whole pipeline in one run, in interleaved rounds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.bench.receiver import taker
from edge_infer.cli.as_owner import act_as_owner_of, act_on, shut_in, start_afresh
from edge_infer.cli.output import ProgressBar
from edge_infer.contract.codec import replace
from edge_infer.errors import ConfigError
from edge_infer.ipc.channel import Channel
from edge_infer.plan.records import InputPlan, PipelinePlan
from edge_infer.sandbox.needs import pipelines_fence
from edge_infer.yamlfile.units import parse_pixels

if TYPE_CHECKING:
    from edge_infer.bench.measure import BenchResult, Spread

SECONDS: Final = 12.0
MAX_SIDE: Final = 8192
"""Maximum side length of a picture in pixels; several pictures are in memory at once."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example: edge-infer bench models/face-detect/1.0.0 --seconds 20"
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a .tflite file or the folder of a model package")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="measure every pipeline of this configuration"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="N", help="seconds for each pipeline (%(default)g)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="number of interleaved rounds (%(default)s)")
    parser.add_argument("--frame", default="1280x720", metavar="WxH", help="size of the pictures (%(default)s)")
    parser.add_argument(
        "--clip", type=Path, metavar="FILE", help="use the frames of this video, decoded as fast as possible"
    )
    parser.add_argument(
        "--publish",
        choices=("change", "every"),
        help="which results are sent to the publisher (as configured; MODEL: change)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="interpreter threads, with MODEL (1); a configuration has its own"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each pipeline")


def run(args: argparse.Namespace) -> int:
    """Print a table, or one JSON object, for each pipeline; return 0 even if the machine is too noisy."""
    size = _checked(args)
    if args.config is not None:
        start_afresh(args, args.config)
    user = act_as_owner_of(args, None) if args.config is None else act_on(args, args.config)
    plans, clip = _plans(args), () if args.clip is None else (str(args.clip.absolute()),)
    fence = pipelines_fence(plans)
    with taker() as channel:  # a separate process, because this one can start none once locked
        shut_in(args, user, replace(fence, files=(*fence.files, *clip)))
        return _measure_all(args, plans, size, channel)


def _measure_all(
    args: argparse.Namespace, plans: Sequence[PipelinePlan], size: tuple[int, int], channel: Channel
) -> int:
    from edge_infer.bench.measure import measure
    from edge_infer.engine.threads import staying_on

    bar = ProgressBar()

    def progress(what: str, share: float) -> None:
        if share < 1:
            bar.draw(share, what)
        else:
            bar.clear()

    for plan in plans:
        if args.publish:
            plan = replace(plan, publish=args.publish)  # noqa: PLW2901
        with staying_on(plan.affinity):
            found = measure(plan, size, args.seconds, args.rounds, progress, channel=channel, clip=args.clip)
        print(json.dumps(_facts(found)) if args.json else "\n".join(_table(found)), flush=True)
        if found.noisy:
            print(
                f"edge-infer: {found.name}: this machine is too noisy for a result: the middle half of the rounds lies "
                f"{max(found.bare.share, found.ratio.share):.0%} apart; stop other programs, or set more --seconds",
                file=sys.stderr,
            )
    return 0


def _checked(args: argparse.Namespace) -> tuple[int, int]:
    if (args.model is None) == (args.config is None):
        raise ConfigError("name either a MODEL or, with -c FILE, a configuration")
    if args.config is not None and args.threads is not None:
        raise ConfigError("--threads needs a MODEL; in a configuration each pipeline has the key threads")
    threads = 1 if args.threads is None else args.threads
    if not 1 <= args.seconds <= 3600 or not 2 <= args.rounds <= 100 or not 1 <= threads <= 64:
        raise ConfigError("--seconds is 1 to 3600, --rounds 2 to 100, --threads 1 to 64")
    try:
        width, height = parse_pixels(args.frame)
    except ValueError as error:
        raise ConfigError(f"--frame: {error}") from error
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ConfigError(
            f"--frame: {args.frame} is not a size such as 1280x720, each side from 1 to {MAX_SIDE} pixels"
        )
    return width, height


def _plans(args: argparse.Namespace) -> tuple[PipelinePlan, ...]:
    if args.config is not None:
        from edge_infer.config.in_child import compile_in_child

        compiled = compile_in_child(args.config)
        if compiled.plan is None:
            raise ConfigError("\n".join(map(str, compiled.problems)))
        return compiled.plan.pipelines
    from edge_infer.models.request import ModelRequest
    from edge_infer.models.trials.probe import probe

    model = probe(ModelRequest(Path(args.model).stem or "model", str(Path(args.model).absolute())))
    if isinstance(model.input, InputPlan):
        model = replace(model, input=replace(model.input, scaling="fast"))  # as for pictures of a camera
    return (PipelinePlan("bench", "memory", model, model.threshold, threads=args.threads or 1),)


def _facts(found: BenchResult) -> dict[str, object]:
    return {**asdict(found), "noisy": found.noisy}


def _table(found: BenchResult) -> list[str]:
    cpu = f"{1e3 * found.bare_cpu:.3f} ms bare, {1e3 * found.pipeline_cpu:.3f} ms a frame"
    tried = ", ".join(f"{count}: {rate:.1f}" for count, rate in found.threads.items())
    return [
        f"{found.name}: {found.model} on {found.frame}, publish: {found.publish}, {found.runtime}",
        f"{found.machine}, {found.cores} cores; {found.rounds} interleaved rounds",
        "",
        f"{'':18s}{'quarter':>12s}{'median':>12s}{'3 quarters':>12s}",
        _row("bare invoke", found.bare, 1, "a second"),
        _row("pipeline", found.pipeline, 1, "a second"),
        _row("pipeline / bare", found.ratio, 3),
        "",
        f"processor time    {cpu}: {found.pipeline_cpu / (found.bare_cpu * found.runs_a_frame):.2f} times",
        *_stages(found),
        f"fast path         {_coverage(found)}",
        *([] if found.delegated is None else [f"delegate          {_delegate(found)}"]),
        f"threads           {tried} bare a second",
        f"memory (PSS)      {found.pss / 2**20:.0f} MiB of this process, with its frames",
    ]


def _row(what: str, spread: Spread, decimals: int, unit: str = "") -> str:
    numbers = "".join(f"{value:12.{decimals}f}" for value in (spread.low, spread.median, spread.high))
    return f"{what:18s}{numbers}  {unit}".rstrip()


def _stages(found: BenchResult) -> Iterator[str]:
    whole = sum(seconds for stage, seconds in found.stages.items() if stage != "wait")
    for stage, seconds in found.stages.items():
        share = "for the next frame" if stage == "wait" else f"{seconds / whole:4.0%} of a frame by itself"
        yield f"  {stage:16s}{1e3 * seconds:12.3f} ms, {share}"


def _delegate(found: BenchResult) -> str:
    if found.delegate_failure:
        return f"the processor does it all: {found.delegate_failure}"
    return f"{found.delegated:.0%} of the operators"


def _coverage(found: BenchResult) -> str:
    rest = f", not {', '.join(sorted(set(found.not_delegated)))}" if found.not_delegated else ""
    return f"{found.operators - len(found.not_delegated)} of {found.operators} operators{rest}"
