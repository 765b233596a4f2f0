"""Computes the figures that scripts/events prints."""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from scenes import SIZE, TYPES, Author
from stillness import report
from traffic import print_traffic
from truth import Account, judge, pipeline

from edge_infer.engine.events.follow import Follow
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import TrackPlan

RATES: Final = (5.0, 10.0, 25.0)
MOST_COST: Final = 4.0
"""Maximum time for following 20 objects, as a multiple of one resize."""


def main() -> int:
    """Return 0 if all figures are as expected, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/events")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="default: 1")
    parser.add_argument("--fps", type=float, nargs="+", default=RATES, help="default: 5 10 25")
    parser.add_argument("--frames", type=int, default=10_000, help="at least so many a scene (default: %(default)s)")
    parser.add_argument("--events", type=int, default=200, help="of each type at least (default: %(default)s)")
    parser.add_argument("--no-cost", action="store_true", help="leave out how long it takes")
    parser.add_argument("--no-motion", action="store_true", help="leave out what looking only at motion saves")
    parser.add_argument("--only-motion", metavar="SECONDS", type=float, help="nothing else, on a clip of twice as many")
    parser.add_argument("--verbose", action="store_true", help="each event that is wrong")
    parser.add_argument("--traffic", type=Path, metavar="CONFIG", help="only: bytes a minute on its recordings")
    args = parser.parse_args()
    assets = os.environ.get("EDGE_INFER_ASSETS")
    if args.only_motion is not None and assets is None:
        parser.error("EDGE_INFER_ASSETS is not set: it names the folder of public test models and clips")
    if args.only_motion is not None:
        return 0 if report(Path(str(assets)), args.only_motion) else 1
    if args.traffic:
        print_traffic(args.traffic)
        return 0
    wrong = 0
    for seed, fps in itertools.product(args.seed, args.fps):
        for title, occlusion, lost in (("defaults, hidden <= 0.5 s", 0.5, 1.0), ("lost: 2s, hidden <= 1 s", 1.0, 2.0)):
            scene = Author(seed, fps, occlusion, lost).write(args.frames / fps / 0.8, args.events)
            account = judge(scene, fps, seed, pipeline(track=TrackPlan(lost=lost)))
            _print(f"seed {seed}, {fps:g} fps, {title}", account, verbose=args.verbose)
            wrong += not account.right
    if assets is not None and not args.no_motion:
        wrong += not report(Path(assets), 16.0)
    if args.no_cost:
        return 1 if wrong else 0
    cost = _cost()
    print(f"tracker, zone, line and events for 20 boxes: {cost:.2f} times a resize of 1280x720 to 640x640")
    return 1 if wrong or cost > MOST_COST else 0


def _print(title: str, account: Account, *, verbose: bool) -> None:
    true = ", ".join(f"{account.true[kind]} {kind}" for kind in TYPES)
    print(f"{title}: {account.frames} frames; true events: {true}")
    print(
        f"    {len(account.missed)} missed ({account.missed_share:.2%}), {len(account.doubled)} doubled, "
        f"{len(account.invented)} invented; "
        f"{account.switches} identity switches ({account.switch_share:.2%} of the objects); "
        f"occupancy was other than enters minus exits in {account.unequal} frames",
        flush=True,
    )
    for kind, found in (("missed", account.missed), ("doubled", account.doubled), ("invented", account.invented)):
        for item in found if verbose else ():
            print(f"    {kind}: {item}")


def _cost() -> float:
    """Return the median time for a frame with 20 moving objects as a multiple of a resize, measured alternately."""
    numbers = itertools.count(1)
    follow = Follow(pipeline(), lambda: next(numbers))
    picture = np.zeros((720, 1280, 3), np.uint8)
    dice = np.random.default_rng(0)
    starts, speeds = dice.uniform(100, 1100, 20), dice.uniform(-60, 60, 20)
    cv2.setNumThreads(1)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(400):
        moment = number * 0.04
        rows = zip((starts + speeds * moment).tolist(), range(20), strict=True)
        found = tuple(Detection("person", 0, 0.8, (x, 20.0 + 30 * row, x + 40, 120.0 + 30 * row)) for x, row in rows)
        begun = time.perf_counter()
        follow(Detections(found, SIZE), Instant(moment, moment))
        between = time.perf_counter()
        cv2.resize(picture, (640, 640), interpolation=cv2.INTER_LINEAR)
        times[0].append(between - begun)
        times[1].append(time.perf_counter() - between)
    return statistics.median(times[0][50:]) / statistics.median(times[1][50:])
