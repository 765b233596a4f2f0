"""``edge-infer explain``: show which part of an input led to the result of a model."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import add_model_options, argument, resolve_model
from edge_infer.cli.as_owner import CommandOutput, act_as_owner_of, act_on, shut_in, start_afresh
from edge_infer.cli.output import ProgressBar, as_json, print_nothing_more, say
from edge_infer.errors import ConfigError, EdgeInferError, InputError
from edge_infer.plan.files import files_of
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.child_process import take_lowest
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.readers.environment import bound_pictures
from edge_infer.sandbox import Fence
from edge_infer.sandbox.foreign import may_name_folders
from edge_infer.snapshot.request import newest_picture
from edge_infer.supervisor.control.server import SYSTEM_SOCKET, ask, find_socket
from edge_infer.yamlfile.units import rough_duration

if TYPE_CHECKING:
    from edge_infer.explain.explanation import Explainer, Explanation

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
MASKS: Final = 700
FEWEST_MASKS: Final = 100
MOST_MASKS: Final = 1_000_000
MOST_THREADS: Final = 4
"""Maximum number of threads of the model: few models are faster with more."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """The subject of an explanation: a model with its threshold, and a picture from the daemon or the file ``name``."""

    model: ModelPlan
    threshold: float
    name: str
    picture: bytes | None = None


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example: edge-infer explain models/face-detect/1.0.0 photo.jpg -o why.png"
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a .tflite file or the folder of a model package")
    inputs = "a picture; a .wav, .csv or .npy file; for text models a file with one input a line"
    parser.add_argument("input", metavar="INPUT", nargs="?", help=inputs)
    parser.add_argument("--source", metavar="NAME", help="explain the newest picture of this source of the daemon")
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="with --source; default: %(default)s")
    parser.add_argument("--pipeline", metavar="P", help="with --source: the pipeline, if the source has several")
    parser.add_argument("-o", "--output", metavar="OUT.png", type=Path, help="write the explanation as a picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each answer")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the masks (%(default)s)")
    most = "maximum number of masks, one run of the model for each (%(default)s)"
    parser.add_argument("--masks", type=int, default=MASKS, metavar="N", help=most)
    parser.add_argument("--label", metavar="L", help="explain the best answer with this label, not the best of all")
    at = "explain the object at this point, in fractions of the picture"
    parser.add_argument("--at", metavar="X,Y", type=argument(_point), help=at)
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print a sentence or a JSON object for each answer."""
    _check(args)
    if args.source is not None:
        start_afresh(args, args.config)
    bound_pictures()
    # Root may get every picture. But if a configuration belongs to another user, the result goes to that user, so the
    # picture is requested as that user.
    later = args.own_process and os.geteuid() == 0 and may_name_folders(args.config)
    asked = None if args.source is None or later else _asked(args)
    output = CommandOutput(args.output, option="-o")
    if args.source is None:
        user = act_as_owner_of(args, None, output.prepare)
    else:
        user = act_on(args, args.config, prepare=output.prepare)
    if args.source is not None and later:
        asked = _asked(args)
    subject = _of_file(args) if asked is None else _of_source(args, *asked)
    output.make(user)
    read = [] if subject.picture is not None else [str(Path(subject.name).absolute())]
    written = () if args.output is None else (str(args.output.absolute()),)
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    if args.source is not None or _serves():
        take_lowest()
        threads = 1  # several would wait for each other on cores that the pipelines use
    shut_in(args, user, Fence(files=(*read, *files_of(subject.model)), writes=written))
    return _explain(args, subject, threads)


def _explain(args: argparse.Namespace, subject: _Subject, threads: int) -> int:
    from edge_infer.contract.codec import replace
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.explain.answers import Wanted, sampling_plan
    from edge_infer.explain.explanation import Explainer, Order
    from edge_infer.frames.ffmpeg import without_chatter

    order = Order(subject.threshold, Wanted(args.label, args.at), args.seed, args.masks)
    plan = replace(sampling_plan(subject.model, subject.threshold), threads=threads)
    bar = _Progress()
    with ExitStack() as stack:
        with without_chatter():
            model = stack.enter_context(LoadedModel(plan))
        explained = []
        for found in _found(Explainer(model, subject.model, order, bar), subject):
            bar.clear()
            _print(found, subject, args)
            explained.append(found)
    if args.output is not None:
        _draw(explained, args.output)
    return 130 if any(found.sampled.stop == "interrupted" for found in explained) else 0


def _found(explainer: Explainer, subject: _Subject) -> Iterator[Explanation]:
    if subject.picture is None:
        yield from explainer.file(subject.name)
        return
    from edge_infer.frames.picture import decode_picture

    pixels = decode_picture(subject.picture)
    if pixels is None:
        raise EdgeInferError(f"the daemon's picture of {subject.name} cannot be read ({len(subject.picture)} bytes)")
    yield explainer.picture(subject.name, pixels)


def _print(found: Explanation, subject: _Subject, args: argparse.Namespace) -> None:
    try:
        if args.json:
            print(as_json(found.facts(subject.model, args.seed)), flush=True)
        else:
            say([f"{found.name}: {found.text}"])
    except BrokenPipeError:
        if args.output is None:
            raise
        print_nothing_more()  # the picture is still to be written


def _draw(explained: Sequence[Explanation], path: Path) -> None:
    import cv2

    from edge_infer.explain.heat import drawn

    try:
        path.write_bytes(cv2.imencode(path.suffix.lower(), drawn(explained))[1].tobytes())
    except OSError as error:
        raise InputError(f"{path}: the picture cannot be written: {error.strerror or error}") from error


def _asked(args: argparse.Namespace) -> tuple[bytes, dict[str, str]]:
    """Return the daemon's newest picture of the source, and the models that it runs (see `_serving`)."""
    return newest_picture(args.config, args.source), _serving(args.config)


def _of_file(args: argparse.Namespace) -> _Subject:
    if Path(args.input).is_dir():  # opening it would fail with a permission error of the sandbox
        raise InputError(f"{args.input}: {os.strerror(errno.EISDIR)}")
    model = resolve_model(args.model, args)
    return _Subject(model, model.threshold, args.input)


def _of_source(args: argparse.Namespace, picture: bytes, serving: Mapping[str, str]) -> _Subject:
    """Return the picture from the daemon, with the model of the pipeline that processes its source."""
    from edge_infer.config.in_child import compile_in_child

    compiled = compile_in_child(args.config)
    if compiled.plan is None:
        say(compiled.problems, sys.stderr)
        raise ConfigError(f"cannot use {args.config} as it is")
    plan = compiled.plan
    looking = {each.name: each for each in plan.pipelines if each.source == args.source and each.crops is None}
    if args.pipeline is None and len(looking) > 1:
        raise ConfigError(f"source {args.source} has several pipelines; choose one of {', '.join(looking)}: --pipeline")
    name = args.pipeline or next(iter(looking), None)
    if name not in looking:
        known = ", ".join(looking) or "none"
        raise ConfigError(f"pipelines of source {args.source} in {args.config}: {known}; {name} is none of them")
    pipeline = looking[name]
    if (sha := serving.get(pipeline.model.name)) and not pipeline.model.sha256.startswith(sha):
        say([f"edge-infer: the daemon runs {sha}, not the configured {pipeline.model.sha256[:8]}"], sys.stderr)
    threshold = pipeline.threshold if args.threshold is None else args.threshold
    return _Subject(pipeline.model, threshold, args.source, picture)


def _serving(config: Path) -> dict[str, str]:
    """Return the first digits of the digest of each model that the daemon runs, by the name of the model."""
    models = ask(find_socket(config), {"do": "status"}, timeout=15.0).get("models", {})
    return {name: str(model["sha"]) for name, model in models.items() if model.get("sha")}


def _check(args: argparse.Namespace) -> None:
    """Raise `ConfigError` for arguments that exclude each other."""
    if args.source is None and (args.model is None or args.input is None):
        raise ConfigError("name a MODEL and an INPUT, or a source of the running daemon with --source NAME")
    if args.source is None and args.pipeline is not None:
        raise ConfigError("--pipeline needs --source")
    if args.source is not None and (args.model or args.labels or args.task or args.decoder):
        raise ConfigError("--source explains the configured model; remove MODEL, INPUT, --labels, --task, --decoder")
    if not FEWEST_MASKS <= args.masks <= MOST_MASKS or not 0 <= args.seed < 1 << 63:
        raise ConfigError(f"--masks is {FEWEST_MASKS} to {MOST_MASKS}, --seed 0 or more")
    if args.output is not None and args.output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"-o {args.output}: the name must end in .png or .jpg")


def _serves() -> bool:
    """Return whether the service runs on this device, so that its pipelines have precedence."""
    try:
        return SYSTEM_SOCKET.exists()
    except OSError:
        return True


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
        raise ValueError(f"{text!r} is not a point such as 0.5,0.25: fractions of width and height, each 0 to 1")
    return x, y


class _Progress:
    """The progress bar, with the remaining time."""

    def __init__(self) -> None:
        self._bar = ProgressBar()
        self._begun = time.monotonic()
        self._before = 0

    def __call__(self, done: int, most: int) -> None:
        now = time.monotonic()
        if done < self._before:  # the next line of a text file
            self._begun = now
        self._before = done
        if self._bar.due():
            left = rough_duration((now - self._begun) * (most - done) / done)
            self._bar.draw(done / most, f"{done} of at most {most} masks, at most {left} left")

    def clear(self) -> None:
        """Remove the bar."""
        self._bar.clear()
