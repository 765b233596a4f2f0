"""The table of the README: this pipeline and other common designs, compared with the bare loop of the runtime.

usage: scripts/bench [--models DIR] [--seconds N] [--rounds N] [--only WORD] [--json FILE]

All designs run in interleaved rounds. The table shows medians of the ratios to the bare loop in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import latency
import numpy as np
from broker import broker
from rows import ROWS, Row

from edge_infer.bench.measure import NOISY, Spread, machine
from edge_infer.bench.receiver import taker
from edge_infer.bench.runs import Bare, Whole, frames_for
from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import backend_name
from edge_infer.frames.frame import Frame
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, PipelinePlan

HERE: Final = Path(__file__).parent
OTHERS: Final = {"naive": "naive.py", "queues": "queues.py", "mediapipe": "mediapipe_tasks.py"}
PATIENCE: Final = 120.0
"""Maximum seconds that a baseline may take in addition to its measurement."""


@dataclass(slots=True)
class Found:
    """Results of one row: ratios to the bare loop of the same round, by design, and reasons for missing designs."""

    row: Row
    bare: list[float] = field(default_factory=list)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    wait: list[float] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def main() -> int:
    """Print the table and the reasons for missing values; return 0."""
    args = _parser().parse_args()
    rows = [row for row in ROWS if args.only.lower() in row.title.lower()]
    print(f"{machine()}, {len(os.sched_getaffinity(0))} cores, {backend_name()}, Python {sys.version.split()[0]};")
    print(f"{args.rounds} rounds by turns of {args.seconds:g} s each\n")
    print(
        f"{'':38s}{'bare/s':>9s}{'edge-infer':>12s}{'goal':>6s}{'CPU':>7s}",
        *(f"{each:>10s}" for each in OTHERS),
        flush=True,
    )
    found = []
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as port:
        Path(folder).chmod(0o711)  # a daemon that root starts runs as another user
        for row in rows:
            found.append(_measure(row, args, Path(folder), port))
            print(_line(found[-1]), flush=True)
        if args.only.lower() in latency.TITLE:
            print(latency.table(latency.measure(args.models, args.seconds, args.rounds, Path(folder), port)))
    for each in found:
        for design, why in each.missing.items():
            print(f"{each.row.title}: no {design}: {why}", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in found]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--python", type=Path, default=sys.executable, help="the one that runs the others")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each, each time (%(default)g)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--only", default="", metavar="WORD", help="rows with this word in their title")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all ratios of all rounds")
    return parser


def _measure(row: Row, args: argparse.Namespace, folder: Path, port: int) -> Found:
    found = Found(row)
    source = next((each for each in Path(args.models or ".").rglob(row.file)), None)
    if source is None:
        found.missing["edge-infer"] = f"there is no {row.file} below {args.models}; --models says where they are"
        return found
    model = folder / row.file
    shutil.copyfile(source, model)
    model.with_suffix(".yaml").unlink(missing_ok=True)
    if row.manifest:
        model.with_suffix(".yaml").write_text(row.manifest)
    plan = _plan(row, model)
    clip = _clip(args, folder, found) if row.clip else None
    if row.clip and clip is None:
        return found
    frames = frames_for(plan, row.frame, clip)
    pictures = clip or _saved(frames, folder)
    bare, whole = Bare(plan, frames[0]), Whole(plan, frames, clip)
    for _ in range(args.rounds):
        with taker() as channel:
            one, other = bare.run(args.seconds), whole.run(args.seconds, channel)
        found.bare.append(one.rate)
        found.ratios.setdefault("edge-infer", []).append(other.rate / one.rate)
        found.cpu.append(other.cpu / one.cpu)
        found.wait.append(other.wait)
        for design in row.baselines:
            _run_other(design, found, one.rate, [args.python, model, pictures, args.seconds, port, row.kind])
    bare.close()
    return found


def _plan(row: Row, model: Path) -> PipelinePlan:
    made = probe(ModelRequest("bench", str(model)))
    if isinstance(made.input, InputPlan):
        made = replace(made, input=replace(made.input, scaling="fast"))  # as for frames of a camera
    return PipelinePlan("bench", "memory", made, made.threshold, publish=row.publish)


def _run_other(design: str, found: Found, bare: float, words: list[object]) -> None:
    """Run a baseline once. After its first failure, which is recorded, it does not run again."""
    if design in found.missing:
        return
    python, *rest = map(str, words)
    command = [python, str(HERE / OTHERS[design]), *rest]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE + float(rest[2]), check=True)
        rate = float(json.loads(done.stdout.splitlines()[-1])["rate"])
    except subprocess.CalledProcessError as error:
        found.missing[design] = (error.stderr.strip().splitlines() or ["it failed"])[-1]
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        found.missing[design] = str(error)
    else:
        found.ratios.setdefault(design, []).append(rate / bare)


def _clip(args: argparse.Namespace, folder: Path, found: Found) -> Path | None:
    path = folder / "clip.mp4"
    if not path.exists():
        done = subprocess.run([args.python, HERE / "clip.py", path], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            found.missing["edge-infer"] = f"no clip: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            return None
    return path


def _saved(frames: list[object], folder: Path) -> Path:
    """Return the path of a .npy file with the pictures, for the other designs."""
    path = folder / "frames.npy"
    if all(isinstance(frame, Frame) for frame in frames):
        np.save(path, np.stack([frame.pixels for frame in frames if isinstance(frame, Frame)]))
    return path


def _line(found: Found) -> str:
    row = found.row
    if not found.bare:
        return f"{row.title:38s}{'-':>9s}{'-':>12s}{row.goal:6.2f}{'-':>7s}"
    spread = Spread.of(found.ratios["edge-infer"])
    mark = " (noisy)" if spread.share > NOISY else ""
    others = [f"{median(found.ratios[each]):10.2f}" if each in found.ratios else f"{'-':>10s}" for each in OTHERS]
    return (
        f"{row.title:38s}{median(found.bare):9.1f}{spread.median:12.3f}{row.goal:6.2f}{median(found.cpu):7.2f} "
        + " ".join(others)
        + mark
    )


if __name__ == "__main__":
    sys.exit(main())
