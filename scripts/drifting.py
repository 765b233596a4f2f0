"""The figures that scripts/drift prints."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from drift_causes import cause
from drift_picture import draw
from drift_scenes import FAULTS, Scene, learned, trial
from drift_years import camera_year, outcome_year

from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import DriftHealth
from edge_infer.engine.drift.picture import picture_signals
from edge_infer.ipc.drift import DriftReference

ROOT: Final = Path(__file__).parents[1]
FIGURES: Final = ("faults", "years", "causes", "cost", "reference")


def main() -> int:
    """Print the chosen figures; return 0."""
    parser = argparse.ArgumentParser(prog="scripts/drift")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--runs", type=int, default=20, help="clips of each fault (default: %(default)s)")
    parser.add_argument("--years", type=int, default=200, help="simulated years of answers (default: %(default)s)")
    parser.add_argument("--camera-years", type=int, default=20, help="and of cameras (default: %(default)s)")
    args = parser.parse_args()
    if unknown := [each for each in args.figures if each not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]}; choose from {', '.join(FIGURES)}")
    place = os.environ.get("EDGE_INFER_ASSETS")
    if place is None:
        parser.error("EDGE_INFER_ASSETS is not set: it names the folder of public test models and clips")
    assets, chosen = Path(place), args.figures or FIGURES
    cv2.setNumThreads(1)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if "faults" in chosen:
            _faults(pool, assets, args.runs)
        if "years" in chosen:
            _years(pool, args.years, args.camera_years)
        if "causes" in chosen:
            _causes(pool, assets, args.runs)
    if "cost" in chosen:
        _cost(assets)
    if "reference" in chosen:
        _reference()
    return 0


def _fault_run(assets: Path, seed: int) -> tuple[int, list[tuple[str, str, int, float]]]:
    """Return the size of a reference in bytes, and for each fault the reported fault, the seconds until the report, and
    the error of the shift."""
    scene, found = Scene(assets, seed), []
    reference = learned(scene)
    for kind in FAULTS:
        named, seconds, watch = trial(scene, reference, kind, 1000 + seed)
        error = math.nan
        if kind == "moved" and watch.shift is not None:
            move = np.random.default_rng(1000 + seed)
            move.uniform(3, 60)
            right = move.choice([-1, 1]) * move.uniform(0.05, 0.2)
            error = abs(watch.shift[0] - right)
        found.append((kind, named, seconds, error))
    return len(dumps(reference)), found


def _faults(pool: ProcessPoolExecutor, assets: Path, runs: int) -> None:
    rows = list(pool.map(partial(_fault_run, assets), range(runs)))
    print(f"faults, {runs} clips each; the reference of a camera has at most {max(size for size, _ in rows)} bytes")
    for number, kind in enumerate(FAULTS):
        found = [row[number] for _, row in rows]
        names = Counter(named for _, named, _, _ in found)
        times = sorted(seconds for _, named, seconds, _ in found if named == kind)
        middle = f"median {times[len(times) // 2]} s, longest {times[-1]} s" if times and kind != "none" else ""
        errors = [error for *_, error in found if not math.isnan(error)]
        shifts = f"; shift wrong by at most {max(errors):.3f} of the width" if errors else ""
        print(f"  {kind:10} named {names[kind]} of {runs} {dict(names)} {middle}{shifts}", flush=True)


def _years(pool: ProcessPoolExecutor, years: int, camera_years: int) -> None:
    for rho in (0.0, 0.5, 0.9):
        alarms = list(pool.map(partial(outcome_year, rho), range(years)))
        text = f"{np.mean(alarms):.3f} a year on average, {max(alarms)} in the worst year"
        print(f"answers, {years} years, windows correlated by {rho}: false alarms {text} (stated: 1 with the camera)")
    alarms = []
    for number, count in enumerate(pool.map(camera_year, range(camera_years)), 1):
        print(f"camera, year {number} of {camera_years}: {count} false alarms", flush=True)  # a year takes minutes
        alarms.append(count)
    print(
        f"camera, {camera_years} years of days, nights, switches and rain: {np.mean(alarms):.3f} a year on average, "
        f"{max(alarms)} in the worst year",
        flush=True,
    )


def _causes(pool: ProcessPoolExecutor, assets: Path, runs: int) -> None:
    for what in ("model", "scene"):
        found = Counter(pool.map(partial(cause, assets, what), range(runs)))
        print(f"causes: another {what}: told as {dict(found)} of {runs}", flush=True)


def _cost(assets: Path) -> None:
    """Print the processor time of the signals of a picture, at one picture a second, and the bytes in health
    messages."""
    frames = Scene(assets, 1).learned[:40]
    pictures = {
        name: [np.asarray(cv2.resize(frame, size), np.uint8) for frame in frames]
        for name, size in (("640x480", (640, 480)), ("1920x1080", (1920, 1080)))
    }
    for name, shown in pictures.items():
        begun = time.thread_time()
        for frame in shown * 5:
            picture_signals(frame)
        seconds = (time.thread_time() - begun) / (5 * len(shown))
        print(f"cost: {seconds * 1000:.2f} ms for a picture of {name}: {seconds:.2%} of a core at one a second")
    health = len(dumps({"door": DriftHealth("defocused", "fewer_objects", 0.99)}))
    print(f"cost: at most {health} bytes of a pipeline in health", flush=True)


def _reference() -> None:
    """Draw the picture that can be rebuilt from a camera's reference beside a real one, and print their correlation."""
    reference, likeness = draw(ROOT / "docs" / "pictures" / "drift-reference.jpg")
    print(f"reference: {len(dumps(DriftReference('door', reference)))} bytes, {len(reference.appearances)} appearances")
    print(f"reference: the best picture made of it correlates by {likeness:.2f} with the edges of the real one")
