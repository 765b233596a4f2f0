"""Counts the Python instructions and calls into C for one frame, without the model's own run.

usage: scripts/bench --counts [--models DIR] [--write]

The instructions in the pipeline's thread are counted, not timed, so noise has no effect. Counting begins with the
request for a frame and ends when all its messages are sent. ``counts.json`` has the earlier counts by Python version; a
growth of more than a tenth is an error. ``--write`` stores the new counts, also grown ones. With the folder of the
public models, fast models are counted, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

from rows import KEYWORDS, WAKE

from edge_infer.bench.frames import Memory, make_frames, memory_plan
from edge_infer.contract.codec import replace
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Worker
from edge_infer.ipc.channel import MAX_RESULT_BYTES, Channel
from edge_infer.ipc.messages import Acked, Handover, StateSnapshot
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, PipelinePlan, Publish

ROOT: Final = Path(__file__).parents[1]
NOTED: Final = Path(__file__).with_name("counts.json")
GROWTH: Final = 0.1
FRAMES: Final = 20
WARM: Final = 50
VERSION: Final = "{}.{}".format(*sys.version_info)
PUBLISH: Final[tuple[Publish, ...]] = ("change", "every")
MODELS: Final = {"the shipped face detector, 320x240": ROOT / "models" / "face-detect" / "1.0.0"}
QUICK: Final = {
    "visual wake words, 96x96": ("vww_96_int8.tflite", WAKE),
    "keyword spotting": ("kws_ref_model.tflite", KEYWORDS),
}


Counts: TypeAlias = dict[str, dict[str, float]]
"""The counts per frame, by title and kind."""


@dataclass(slots=True)
class Counter:
    """Counts instructions and calls while one of its methods is the trace or profile function."""

    instructions: int = 0
    calls: int = 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count instructions; a function for `sys.settrace`."""
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.instructions += event == "opcode"
        return self.trace

    def profile(self, _frame: FrameType, event: str, _: Any) -> None:
        """Count calls into C; a function for `sys.setprofile`."""
        self.calls += event == "c_call"


def quick_models(models: Path | None, folder: Path) -> dict[str, Path]:
    """Copy the existing fast models into ``folder``, with manifests; return their paths by title."""
    found = {}
    for title, (file, manifest) in QUICK.items() if models else ():
        if source := next(iter(Path(models or ".").rglob(file)), None):
            found[title] = folder / file
            shutil.copyfile(source, found[title])
            found[title].with_suffix(".yaml").write_text(manifest)
    return found


def count(model: Path, publish: Publish, size: tuple[int, int] = (320, 240)) -> dict[str, float]:
    """Return the instructions and the calls into C per frame."""
    made = probe(ModelRequest("counts", str(model)))
    if isinstance(made.input, InputPlan):
        made = replace(made, input=replace(made.input, scaling="fast"))
    plan = PipelinePlan("counts", "memory", made, made.threshold, publish=publish, ahead="never")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other = Channel(theirs.detach(), (Handover, StateSnapshot), MAX_RESULT_BYTES)
    feed = make_feed(memory_plan(made.input.takes))
    worker = Worker(plan, feed, ResultSender(Channel(ours.detach(), (Acked,)), "0be0c4"))
    with LoadedModel(plan) as loaded:
        frames = make_frames(loaded, size)
    counter = Counter()
    worker.turn()  # loads the model
    feed.start(Memory(frames))
    for number in range(WARM + 2 * FRAMES):
        if number >= WARM:
            sys.settrace(counter.trace if number % 2 else None)
            sys.setprofile(None if number % 2 else counter.profile)
        worker.turn()
        sys.settrace(None)
        sys.setprofile(None)
        while other.receive() is not None:
            pass
    worker.stop()
    feed.close()
    worker.close()
    other.close()
    return {"instructions": counter.instructions / FRAMES, "calls": counter.calls / FRAMES}


def count_shipped() -> Counts:
    """Return the counts of the shipped models."""
    return {f"{title}, publish: {how}": count(model, how) for title, model in MODELS.items() for how in PUBLISH}


def count_public(models: Path | None) -> Counts:
    """Return the counts of the fast models in the folder of public models."""
    with tempfile.TemporaryDirectory() as folder:
        found = quick_models(models, Path(folder))
        return {
            f"{title}, publish: {how}": count(model, how, (96, 96)) for title, model in found.items() for how in PUBLISH
        }


def noted(version: str = VERSION) -> Counts:
    """Return the stored counts of a Python version; empty if there are none."""
    found: Counts = json.loads(NOTED.read_text()).get(version, {})
    return found


def grown(before: Counts, now: Counts) -> list[str]:
    """Return a sentence for each count that is more than a tenth above its stored value."""
    return [
        f"{title}: {number:.0f} {kind} a frame, {number / known - 1:+.0%} against {known:.0f}"
        for title, numbers in now.items()
        for kind, number in numbers.items()
        if (known := before.get(title, {}).get(kind)) is not None and number > known * (1 + GROWTH)
    ]


def main() -> int:
    """Print the counts; return 1 if one has grown and is not stored."""
    parser = argparse.ArgumentParser(prog="scripts/bench --counts")
    parser.add_argument("--models", type=Path, default=os.environ.get("EDGE_INFER_ASSETS"), help="folder of the models")
    parser.add_argument("--write", action="store_true", help="note these numbers")
    args = parser.parse_args()
    found, before = count_shipped() | count_public(args.models), noted()
    for title, now in found.items():
        print(f"{title}: {now['instructions']:.0f} instructions of Python, {now['calls']:.0f} calls into C a frame")
    errors = grown(before, found)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not before:
        print(f"nothing is noted for Python {VERSION} yet; --write does it", file=sys.stderr)
    if args.write:
        stored = {**json.loads(NOTED.read_text()), VERSION: {**before, **found}}
        NOTED.write_text(json.dumps(stored, indent=2) + "\n")
    elif errors:
        print("find what was added to each frame, or accept the new counts with --write", file=sys.stderr)
    return 1 if errors and not args.write else 0


if __name__ == "__main__":
    sys.exit(main())
