"""``edge-infer evaluate``: measure how often a model is right on labelled data, or compare two models."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import add_model_options, argument, resolve_model
from edge_infer.cli.as_owner import CommandOutput, act_as_owner_of, shut_in
from edge_infer.cli.output import ProgressBar, as_json, print_nothing_more, say
from edge_infer.contract.codec import replace
from edge_infer.errors import InputError
from edge_infer.plan.files import files_of
from edge_infer.readers.environment import bound_pictures
from edge_infer.sandbox.identity import Identity

if TYPE_CHECKING:
    from edge_infer.evaluate.run import EvaluationOptions, EvaluationReport

GOLDEN: Final = 5
"""Maximum number of golden inputs that ``--golden`` writes."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example: edge-infer evaluate person.tflite labels.json --images pictures --report report.html"
    parser.add_argument("model", metavar="MODEL", help="a .tflite file or the folder of a model package")
    known = "boxes: a COCO file (.json) or a folder of YOLO text files; else a folder for each class, or a .csv file"
    parser.add_argument("data", metavar="LABELS", type=Path, help=known)
    add_images(parser)
    other = "another model, compared with MODEL on the same data; the options below are for MODEL"
    parser.add_argument("--against", metavar="MODEL2", help=other)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--report", metavar="OUT.html", type=Path, help="write a page with diagrams and the worst mistakes"
    )
    for kind in ("precision", "recall"):
        wished = f"also find the threshold that gives this {kind}, such as 0.9; may be given several times"
        parser.add_argument(f"--{kind}", metavar="X", type=argument(_share), action="append", default=[], help=wished)
    parser.add_argument("--resume", metavar="FILE", type=Path, help="keep outcomes in this file, and resume from it")
    golden = f"write up to {GOLDEN} examples that MODEL gets right to this folder, as golden inputs of its package"
    parser.add_argument("--golden", metavar="DIR", type=Path, help=golden)
    add_model_options(parser)


def add_images(parser: argparse.ArgumentParser) -> None:
    """Declare the options about the data."""
    folder = "folder with the files that the labels name; default: beside the labels"
    parser.add_argument("--images", metavar="FOLDER", type=Path, help=folder)
    renamed = "a class of the labels and its name in the model; may be given several times"
    parser.add_argument(
        "--rename", metavar="THEIRS=OURS", type=argument(_renamed), action="append", default=[], help=renamed
    )


def run(args: argparse.Namespace) -> int:
    """Print the figures; return 1 if an example could not be read."""
    bound_pictures()
    outputs = [
        CommandOutput(args.report, option="--report"),
        CommandOutput(args.resume, option="--resume"),
        CommandOutput(args.golden, option="--golden", folder=True),
    ]

    def prepare(user: Identity) -> None:
        for output in outputs:
            output.prepare(user)

    user = act_as_owner_of(args, None, prepare)
    from edge_infer.evaluate.data_place import DataPlace, check_task

    place = DataPlace.of(args.data, args.images)
    plans = [resolve_model(args.model, args), *([resolve_model(args.against)] if args.against else [])]
    for plan in plans:
        check_task(plan)
    for output in outputs:
        output.make(user)
    written = [str(path.absolute()) for path in (args.report, args.resume, args.golden) if path is not None]
    fence = place.fence()
    files = tuple(path for plan in plans for path in files_of(plan))
    shut_in(args, user, replace(fence, files=(*fence.files, *files), writes=tuple(written)))
    from edge_infer.evaluate.run import evaluate

    progress = EvaluationProgress()
    try:
        report = evaluate(place, plans, options(args), progress)
    except KeyboardInterrupt:
        progress.clear()
        if args.resume:
            say([f"edge-infer: interrupted; to resume from {args.resume}, run the same command"], sys.stderr)
        raise
    progress.clear()
    _tell(report, args)
    return 1 if report.unread else 0


def options(args: argparse.Namespace) -> EvaluationOptions:
    """Return the options of an evaluation. An option that the action does not have gets its default."""
    from edge_infer.evaluate.run import EvaluationOptions
    from edge_infer.evaluate.scores import Wish

    wishes = [Wish(kind, least) for kind in ("precision", "recall") for least in getattr(args, kind, ())]
    golden = GOLDEN if getattr(args, "golden", None) is not None else 0
    return EvaluationOptions(dict(args.rename), tuple(wishes), golden, getattr(args, "resume", None))


def _tell(report: EvaluationReport, args: argparse.Namespace) -> None:
    try:
        _print(report, as_object=args.json)
    except BrokenPipeError:
        print_nothing_more()
    finally:  # the user asked for these files, even if standard output is closed
        if args.report is not None:
            _write(args.report, report)
        if args.golden is not None:
            _write_golden(args.golden, report)


def _print(report: EvaluationReport, *, as_object: bool) -> None:
    if as_object:
        from edge_infer.evaluate.facts import facts

        print(as_json(facts(report)), flush=True)
    else:
        from edge_infer.evaluate.text import lines

        say(lines(report))


def _write(path: Path, report: EvaluationReport) -> None:
    from edge_infer.evaluate.page import page

    try:
        path.write_text(page(report), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"--report {path}: cannot be written: {error.strerror or error}") from error


def _write_golden(folder: Path, report: EvaluationReport) -> None:
    from edge_infer.evaluate.golden_examples import write_golden

    examples = report.evaluations[0].golden
    if not examples:
        raise InputError(f"--golden {folder}: there is no example that the model gets right with a margin")
    entries = write_golden(folder, examples)
    count = f"{len(examples)} golden input{'s' if len(examples) > 1 else ''}"
    say([f"edge-infer: {count} written; add the lines of {entries} to the manifest"], sys.stderr)


class EvaluationProgress:
    """The progress bar, with the estimated end."""

    def __init__(self) -> None:
        self._bar = ProgressBar()
        self._begun = time.monotonic()

    def __call__(self, done: int, earlier: int, whole: int) -> None:
        """Show the number of examples that are done; an earlier run did ``earlier`` of these."""
        if done < whole and not self._bar.due():
            return
        rate = (done - earlier) / max(1e-9, time.monotonic() - self._begun)
        end = "" if rate <= 0 else f", {rate:.1f} a second, until {_clock(time.time() + (whole - done) / rate)}"
        self._bar.draw(done / max(1, whole), f"{done} of {whole}{end}")

    def clear(self) -> None:
        """Remove the bar."""
        self._bar.clear()


def _clock(moment: float) -> str:
    return time.strftime("%H:%M" if moment - time.time() < 43_200 else "%Y-%m-%d %H:%M", time.localtime(moment))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 < share <= 1.0:
        raise ValueError(f"{text} is not a share above 0 and at most 1, such as 0.9")
    return share


def _renamed(text: str) -> tuple[str, str]:
    theirs, sign, ours = text.partition("=")
    if not (theirs and sign and ours):
        raise ValueError(f"{text} is not THEIRS=OURS, such as --rename automobile=car")
    return theirs, ours
