"""The measurements of ``scripts/track``: sequences, ids and events of this project and other trackers, and the
table."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from crowds import KINDS, LABELS, REPORT, TUNING
from crowds import Sequence as Shots
from crowds import sequence as made_up
from numpy.typing import NDArray
from truth import pipeline

from edge_infer.contract.codec import replace
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import LinePlan, TrackPlan

ROOT: Final = Path(__file__).resolve().parents[1]
SCORES, HOTA = ROOT / ".venv-track-motmetrics", ROOT / ".venv-track-trackeval"
TRACKERS, SUPERVISION = ROOT / ".venv-track-trackers", ROOT / ".venv-track-supervision"
TUD_RATES: Final = (25.0, 12.5, 5.0)
MADE_RATES: Final = (25.0, 12.5, 10.0, 5.0, 3.0)
LINES: Final = tuple(LinePlan(f"line {at:g}", (at, 0.0), (at, 1.0)) for at in (0.3, 0.4, 0.5, 0.6, 0.7))
ACROSS: Final = 0.2
"""Minimum seconds on the other side of a line for a true crossing."""
TRIALS: Final = 30
"""Number of settings that are tried for each other tracker at each rate. As many were tried for this project's
constants, for all rates together."""
BUFFERS: Final = {"lost_track_buffer": (15, 30, 60, 90), "minimum_consecutive_frames": (1, 2, 3)}
PEERS: Final[dict[str, tuple[Path, dict[str, tuple[Any, ...]]]]] = {
    "SORTTracker": (TRACKERS, BUFFERS | {
        "minimum_iou_threshold": (0.01, 0.05, 0.1, 0.2, 0.3), "track_activation_threshold": (0.25, 0.4, 0.5, 0.6),
    }),
    "ByteTrackTracker": (TRACKERS, BUFFERS | {
        "minimum_iou_threshold": (0.01, 0.02, 0.05, 0.1, 0.2), "track_activation_threshold": (0.5, 0.6, 0.7),
        "high_conf_det_threshold": (0.4, 0.5, 0.6),
    }),
    "OCSORTTracker": (TRACKERS, BUFFERS | {
        "minimum_iou_threshold": (0.01, 0.05, 0.1, 0.2, 0.3), "high_conf_det_threshold": (0.3, 0.4, 0.5, 0.6),
        "direction_consistency_weight": (0.0, 0.1, 0.2, 0.4), "delta_t": (1, 2, 3),
    }),
    "CBIoUTracker": (TRACKERS, BUFFERS | {
        "buffer_ratio_first": (0.1, 0.3, 0.5, 0.7, 1.0), "buffer_ratio_second": (0.3, 0.5, 0.7, 1.0),
        "minimum_iou_threshold_first_assoc": (0.05, 0.1, 0.2),
        "minimum_iou_threshold_second_assoc": (0.1, 0.3, 0.5),
        "minimum_iou_threshold_unconfirmed_assoc": (0.05, 0.1, 0.3),
        "track_activation_threshold": (0.5, 0.6, 0.7), "high_conf_det_threshold": (0.4, 0.5, 0.6),
    }),
    "sv-ByteTrack": (SUPERVISION, BUFFERS | {
        "minimum_matching_threshold": (0.7, 0.8, 0.9, 0.95, 0.99),
        "track_activation_threshold": (0.25, 0.4, 0.5, 0.6),
    }),
    "norfair": (SUPERVISION, {
        "seconds": (0.5, 1.0, 2.0, 3.0), "delay": (0, 1, 2), "least_score": (0.0, 0.4, 0.5),
        "distance": (
            ("iou", 0.6), ("iou", 0.7), ("iou", 0.8), ("iou", 0.9), ("iou", 0.95), ("iou", 0.99),
            ("corners", 0.03), ("corners", 0.06), ("corners", 0.12), ("corners", 0.2),
        ),
    }),
}  # fmt: skip
TUNED: Final = ROOT / "scripts" / "track_tuned.json"
"""The best settings of the other trackers at each of ``TUNING_RATES``, as ``scripts/track --tune`` found them."""
TUNING_RATES: Final = (25.0, 10.0, 5.0)

Options = dict[str, Any]
Peer = tuple[str, str, Callable[[float], Options]]
"""A tracker: its title in the table, its name, and its options by frames a second."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence of a row of the table."""

    row: str
    shots: Shots


# Sequences


def tud(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the true and the detected boxes of a sequence: rows of frame (from 0), object, xmin, ymin, xmax, ymax."""
    code = "import motmetrics, pathlib; print(pathlib.Path(motmetrics.__file__).parent / 'data')"
    place = subprocess.run([SCORES / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    found = []
    for kind in ("gt", "test"):
        rows = np.loadtxt(Path(place.stdout.strip()) / name / f"{kind}.txt", delimiter=",")[:, :6]
        rows[:, 0] -= 1
        rows[:, 4:6] += rows[:, 2:4]
        found.append(rows[np.argsort(rows[:, 0], kind="stable")])
    return found[0], found[1]


def slower(rows: NDArray[np.float64], every: int) -> NDArray[np.float64]:
    """Return the rows of every ``every``-th frame."""
    kept: NDArray[np.float64] = rows[rows[:, 0] % every == 0].copy()
    kept[:, 0] //= every
    return kept


def detector(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes with a score of 1 and without ids."""
    return np.column_stack((rows[:, 0], rows[:, 2:6], np.ones(len(rows)), np.zeros(len(rows))))


def tud_jobs(perturbations: int) -> Iterator[Job]:
    """Yield jobs with true, perturbed and detected boxes of both sequences at all rates."""
    for name, frames in (("TUD-Campus", 71), ("TUD-Stadtmitte", 179)):
        true, found = tud(name)
        for fps in TUD_RATES:
            every = round(25 / fps)
            count = -(-frames // every)
            real = slower(true, every)
            shots = Shots(f"{name} {fps:g}", fps, (640, 480), count, real, detector(real))
            yield Job(f"true boxes {name[4:]} {fps:g}", shots)
            yield Job(f"detections {name[4:]} {fps:g}", replaced(shots, detector(slower(found, every))))
            for seed in range(perturbations):
                dice = np.random.default_rng([seed, round(fps * 10), frames])
                boxes = detector(real[dice.random(len(real)) >= 0.2])
                boxes[:, 1:5] += dice.normal(0, 2, (len(boxes), 4))
                yield Job(f"20 % dropped {name[4:]} {fps:g}", replaced(shots, boxes))


def replaced(shots: Shots, found: NDArray[np.float64]) -> Shots:
    """Return the sequence with other detections."""
    return Shots(shots.name, shots.fps, shots.size, shots.frames, shots.truth, found)


def made_jobs(cases: Iterable[tuple[str, float]], seeds: Iterable[int]) -> Iterator[Job]:
    """Yield jobs with synthetic scenes."""
    for (kind, fps), seed in itertools.product(cases, seeds):
        yield Job(f"{kind} {fps:g}", made_up(KINDS[kind], seed, fps))


# This project


@dataclass(frozen=True, slots=True)
class Given:
    """The id of each row of ``found``, online and with hindsight, and the crossings: frame, line, direction (1:
    right)."""

    online: NDArray[np.int64]
    back: NDArray[np.int64]
    crossings: NDArray[np.float64]
    micros: float


def follow(shots: Shots, floor: float = 0.25, threshold: float = 0.5, track: TrackPlan | None = None) -> Given:
    """Run this project's tracker and events over a sequence."""
    plan = pipeline(zones=(), lines=LINES, threshold=threshold, track=track or TrackPlan())
    model = replace(plan.model, labels=LABELS)
    numbers = itertools.count(1)
    follow = Follow(replace(plan, model=model), lambda: next(numbers))
    found, spent = shots.found, 0.0
    tracks: list[Any] = [None] * len(found)
    online = np.zeros(len(found), np.int64)
    crossings: list[tuple[int, int, int]] = []
    starts = np.searchsorted(found[:, 0], np.arange(shots.frames + 1)).tolist()
    for frame, (start, end) in enumerate(itertools.pairwise(starts)):
        rows = [row for row in range(start, end) if found[row, 5] >= floor]
        objects = tuple(_detection(found[row]) for row in rows)
        begun = time.process_time()
        followed, news = follow(Detections(objects, shots.size), Instant(frame / shots.fps, frame / shots.fps))
        spent += time.process_time() - begun
        assert isinstance(followed, Followed)
        places = {id(item.box): row for item, row in zip(objects, rows, strict=True)}
        for item, track_of in zip(followed.detections.objects, followed.tracks, strict=True):
            row = places[id(item.box)]
            tracks[row], online[row] = track_of, item.number or 0
        crossings += [
            (frame, [line.name for line in LINES].index(str(each.line)), 1 if each.direction == "left" else -1)
            for each in news
            if each.type == "cross"
        ]
    back = np.array([track_of.number if track_of is not None else 0 for track_of in tracks], np.int64)
    return Given(online, back, np.array(crossings, np.float64).reshape(-1, 3), spent / shots.frames * 1e6)


def _detection(row: NDArray[np.float64]) -> Detection:
    _, xmin, ymin, xmax, ymax, score, label = row.tolist()
    return Detection(LABELS[int(label)], int(label), score, (xmin, ymin, xmax, ymax))


# Crossings


def true_crossings(shots: Shots) -> list[tuple[float, int, int]]:
    """Return frame, line and direction of each crossing of a true object."""
    found = []
    for number in np.unique(shots.truth[:, 1]):
        rows = shots.truth[shots.truth[:, 1] == number]
        middle = (rows[:, 2] + rows[:, 4]) / 2
        for place, line in enumerate(LINES):
            sides = np.sign(middle - line.start[0] * shots.size[0])
            settled, since = 0.0, 0
            for index, side in enumerate(sides.tolist()):
                if index and side != sides[index - 1]:
                    since = index
                if side and rows[index, 0] - rows[since, 0] >= ACROSS * shots.fps - 1e-6 and side != settled:
                    if settled:
                        found.append((float(rows[since, 0]), place, int(side)))
                    settled = side
    return sorted(found)


def compare(shots: Shots, told: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the numbers of true, missed and invented crossings."""
    true, left = true_crossings(shots), sorted(map(tuple, told.tolist()))
    missed = 0
    for frame, line, way in true:
        low, high = frame - 0.5 * shots.fps - 2, frame + 2.5 * shots.fps + 6
        fitting = [each for each in left if each[1:] == (line, way) and low <= each[0] <= high]
        if fitting:
            left.remove(fitting[0])
        else:
            missed += 1
    return len(true), missed, len(left)


# Everything together


@dataclass(slots=True)
class Bench:
    """A folder of sequences, and the ids and events of each tracker for them."""

    folder: Path
    jobs: list[Job]

    def write(self) -> None:
        """Write the sequences for the processes in other environments."""
        for number, job in enumerate(self.jobs):
            shots = job.shots
            np.savez(
                self._sequence(number), truth=shots.truth, found=shots.found, frames=shots.frames, fps=shots.fps,
                size=np.array(shots.size),
            )  # fmt: skip

    def ours(self) -> None:
        """Run this project's tracker on all sequences."""
        for number, job in enumerate(self.jobs):
            given = follow(job.shots)
            for name, ids in (("edge-infer", given.back), ("edge-infer online", given.online)):
                np.savez(self._ids(name, number), ids=ids, crossings=given.crossings, micros=given.micros)

    def theirs(self, trackers: Sequence[Peer], *more: str) -> None:
        """Run other trackers on all sequences."""
        commands = []
        for title, name, options in trackers:
            jobs = [
                [name, options(job.shots.fps), str(self._sequence(number)), str(self._ids(title, number))]
                for number, job in enumerate(self.jobs)
            ]
            commands.append((PEERS[name][0], "track_peers.py", self._json(title, jobs), *more))
        _run(commands)

    def scores(self, titles: Sequence[str], kind: str = "motmetrics") -> dict[tuple[str, str], dict[str, float]]:
        """Return the mean figures of each row and tracker."""
        home, commands = SCORES if kind == "motmetrics" else HOTA, []
        for title in titles:
            jobs = [
                [f"{title}|{number}", str(self._sequence(number)), str(self._ids(title, number))]
                for number in range(len(self.jobs))
            ]
            commands.append((home, "track_scores.py", kind, self._json(title, jobs), self._scores(title)))
        _run(commands)
        found = {key: each for title in titles for key, each in json.loads(self._scores(title).read_text()).items()}
        groups: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        for title in titles:
            for number, job in enumerate(self.jobs):
                groups[job.row, title].append(found[f"{title}|{number}"])
        return {key: {name: float(np.mean([each[name] for each in all_])) for name in all_[0]}
                for key, all_ in groups.items()}  # fmt: skip

    def crossings(self, title: str, looks: int | None = None) -> dict[str, tuple[float, ...]]:
        """Return for each row the sums of true, missed and invented crossings; for perturbed rows the means."""
        groups: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for number, job in enumerate(self.jobs):
            told = np.load(self._ids(title, number))["crossings"]
            told = told if looks is None else told[told[:, 2] == looks][:, [0, 1, 3]]
            groups[job.row].append(compare(job.shots, told))
        return {
            row: tuple(np.mean(each, axis=0) if "dropped" in row else np.sum(each, axis=0))
            for row, each in groups.items()
        }

    def micros(self, title: str) -> dict[str, float]:
        """Return the mean CPU time of a frame in microseconds, by row."""
        groups: dict[str, list[float]] = defaultdict(list)
        for number, job in enumerate(self.jobs):
            groups[job.row].append(float(np.load(self._ids(title, number))["micros"]))
        return {row: float(np.mean(each)) for row, each in groups.items()}

    def _json(self, title: str, jobs: list[Any]) -> Path:
        path = self.folder / f"{title.replace(' ', '_')}.jobs.json"
        path.write_text(json.dumps(jobs))
        return path

    def _scores(self, title: str) -> Path:
        return self.folder / f"{title.replace(' ', '_')}.scores.json"

    def _sequence(self, number: int) -> Path:
        return self.folder / f"{number}.npz"

    def _ids(self, title: str, number: int) -> Path:
        return self.folder / f"{title.replace(' ', '_')}.{number}.npz"


def _run(commands: Sequence[tuple[object, ...]]) -> None:
    """Run scripts (environment, script, arguments), at most ``JOBS`` at a time."""
    with ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
        for _ in pool.map(_run_one, commands):
            pass


def _run_one(command: tuple[object, ...]) -> None:
    home, script, *words = command
    subprocess.run([Path(str(home), "bin", "python"), ROOT / "scripts" / str(script), *map(str, words)], check=True)


def tune(trials: int, names: Sequence[str] = tuple(PEERS)) -> None:
    """Try settings of the other trackers on the scenes for tuning, at each rate, and write the best settings.

    A tracker gets the same number of trials at each rate: its defaults, random settings, and in the last third the best
    settings so far with one option changed.
    """
    for name, fps in itertools.product(names, TUNING_RATES):
        tried: list[tuple[Options, float]] = []
        for count in (trials - 2 * (trials // 6), trials // 6, trials // 6):
            fresh = _proposals(name, fps, count, tried)
            tried += zip(fresh, _means(name, fps, fresh), strict=True)
        best, mean = max(tried, key=lambda each: each[1])
        tuned: dict[str, dict[str, Options]] = json.loads(TUNED.read_text()) if TUNED.exists() else {}
        tuned[name] = tuned.get(name, {}) | {f"{fps:g}": best}
        TUNED.write_text(json.dumps(tuned, indent=1, sort_keys=True) + "\n")
        print(f"{name} {fps:g}: {tried[0][1]:.1f} by default, {mean:.1f} with {best}, {len(tried)} trials", flush=True)


def _proposals(name: str, fps: float, count: int, tried: Sequence[tuple[Options, float]]) -> list[Options]:
    """Return settings that were not tried yet: at first random settings, then neighbours of the best."""
    options, dice = PEERS[name][1], random.Random(f"tune {name} {fps:g} {len(tried)}")
    known: list[Options] = [each for each, _ in tried] or [{}]
    fresh: list[Options] = [] if tried else [{}]
    while len(fresh) < count:
        if tried:
            key = dice.choice(list(options))
            each = max(tried, key=lambda of: of[1])[0] | {key: dice.choice(options[key])}
        else:
            each = {key: dice.choice(of) for key, of in options.items()}
        if each not in known + fresh:
            fresh.append(each)
    return fresh


def _means(name: str, fps: float, settings: Sequence[Options]) -> list[float]:
    """Return the mean IDF1 of each of the settings over the kinds of scenes, with the first seed for tuning."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), list(made_jobs([(kind, fps) for kind in KINDS], TUNING[:1])))
        bench.write()
        peers = [_peer(f"{name} {number}", name, each) for number, each in enumerate(settings)]
        bench.theirs(peers, "--no-lines")
        scores = bench.scores([title for title, _, _ in peers])
        rows = dict.fromkeys(job.row for job in bench.jobs)
        return [float(np.mean([scores[row, title]["IDF1"] for row in rows])) for title, _, _ in peers]


def _peer(title: str, name: str, options: Options) -> Peer:
    return title, name, lambda _: options


def _tuned(name: str, by_rate: dict[str, Options]) -> Peer:
    """Return a tracker with the settings of the nearest rate for which it was tuned."""
    return f"{name} tuned", name, lambda fps: by_rate[min(by_rate, key=lambda rate: abs(math.log(float(rate) / fps)))]


def report(jobs: list[Job], names: Sequence[str]) -> None:
    """Print the table of these sequences, with these other trackers beside this project."""
    tuned: dict[str, dict[str, Options]] = json.loads(TUNED.read_text())
    peers = [_peer(name, name, {}) for name in names]
    peers += [_tuned(name, by_rate) for name, by_rate in tuned.items() if name in names]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), jobs)
        bench.write()
        bench.ours()
        bench.theirs(peers)
        titles = ["edge-infer", "edge-infer online", *(title for title, _, _ in peers)]
        scores, higher = bench.scores(titles), bench.scores(titles, "trackeval")
        print("IDF1 / MOTA / HOTA / switches / fragmentations / ids given")
        for row in dict.fromkeys(job.row for job in jobs):
            print(f"\n{row} ({scores[row, titles[0]]['objects']:.0f} objects)")
            for title in titles:
                of, hota = scores[row, title], higher[row, title]["HOTA"]
                print(f"    {title:24} {of['IDF1']:5.1f} / {of['MOTA']:5.1f} / {hota:5.1f} / {of['switches']:.1f} / "
                      f"{of['fragmentations']:.1f} / {of['ids']:.1f}")  # fmt: skip
        print("\nCrossings of five lines: missed + invented; of other trackers with supervision's counter, 1 / 3 looks")
        ours, theirs = (
            bench.crossings("edge-infer"),
            {(t, n): bench.crossings(t, n) for t in titles[2:] for n in (1, 3)},
        )
        for row, (true, missed, invented) in ours.items():
            print(f"\n{row} ({true:g} true)\n    {'edge-infer':24} {missed:g}+{invented:g}")
            for title in titles[2:]:
                each = [theirs[title, looks][row] for looks in (1, 3)]
                print(f"    {title:24} {' / '.join(f'{lost:g}+{more:g}' for _, lost, more in each)}")
        print("\nMicroseconds of CPU time a frame, of this project with its events")
        times = {title: bench.micros(title) for title in titles}
        for row in ours:
            print(
                f"    {row}: "
                + ", ".join(f"{title} {times[title][row]:.0f}" for title in titles if "online" not in title)
            )


def main() -> int:
    """Tune the other trackers, or print the table."""
    parser = argparse.ArgumentParser(prog="scripts/track")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=TUNING, help="made-up scenes (default: those for tuning)"
    )
    parser.add_argument("--report", action="store_true", help=f"the seeds of the published table, {REPORT}")
    parser.add_argument("--perturbations", type=int, default=20, help="of the true boxes (default: %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=MADE_RATES, help="of made-up scenes (default: all)")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows with this text")
    parser.add_argument("--others", nargs="*", default=list(PEERS), metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--tune", action="store_true", help="find the best settings of the other trackers first")
    args = parser.parse_args()
    if args.tune:
        tune(TRIALS, args.others)
    cases = [(kind, fps) for kind in KINDS for fps in args.rates]
    jobs = [*tud_jobs(args.perturbations), *made_jobs(cases, REPORT if args.report else args.seeds)]
    report([job for job in jobs if args.rows in job.row], args.others)
    return 0
