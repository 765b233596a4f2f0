"""``edge-infer infer``: run one model on pictures, recordings or text, and print one JSON object for each input."""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import add_model_options, resolve_model
from edge_infer.cli.as_owner import CommandOutput, act_as_owner_of, shut_in
from edge_infer.cli.output import say
from edge_infer.contract.codec import dumps, encode
from edge_infer.errors import ConfigError, InputError, ModelError
from edge_infer.plan.files import files_of
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.paths import write_private
from edge_infer.readers.environment import bound_pictures
from edge_infer.sandbox import Fence

if TYPE_CHECKING:
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.engine.tasks import Findings
    from edge_infer.frames.frame import Frame

QUALITY: Final = 92
INPUTS: Final = (
    "pictures; for models of sound and samples .wav, .csv or .npy files; for text files with one input a line"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example: edge-infer infer models/face-detect/1.0.0 models/face-detect/1.0.0/golden/astronaut.png"
    parser.add_argument("model", metavar="MODEL", help="a .tflite file or the folder of a model package")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=INPUTS)
    add_model_options(parser)
    parser.add_argument("--annotate", metavar="DIR", type=Path, help="write pictures with drawn results to this folder")


def run(args: argparse.Namespace) -> int:
    """Print one line of JSON for each input. If a file could not be read, return 1 after all other inputs."""
    bound_pictures()
    output = CommandOutput(args.annotate, folder=True)
    user = act_as_owner_of(args, None, output.prepare)
    if args.annotate:
        _check_folder(args.annotate)
    model = resolve_model(args.model, args)
    if args.annotate and model.input.takes != "image":
        raise ConfigError(
            f"--annotate draws into pictures, but {model.title} takes {model.input.takes}; remove this option"
        )
    output.make(user)

    plan = PipelinePlan("infer", "infer", model, model.threshold)
    drawn = [str(args.annotate.absolute())] if args.annotate else []
    inputs = [str(Path(path).absolute()) for path in args.inputs]
    shut_in(args, user, Fence(files=(*inputs, *files_of(model)), writes=tuple(drawn)))
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.frames.ffmpeg import without_chatter

    with ExitStack() as stack:
        with without_chatter():
            loaded = stack.enter_context(LoadedModel(plan))
        return _run_all(plan, loaded, args.inputs, args.annotate)


def _run_all(plan: PipelinePlan, model: LoadedModel, inputs: Iterable[str], folder: Path | None) -> int:
    from edge_infer.engine.input.files import find_in_file
    from edge_infer.engine.output.outcome import Composer
    from edge_infer.frames.frame import Frame

    compose = Composer(plan, secrets.token_hex(3))
    failed = done = 0
    drawn: set[Path] = set()
    for path in inputs:
        try:
            _check_file(path)
            for found in find_in_file(model, plan.model.input, path):
                done += 1
                result = encode(compose(found.findings, found.frame, time.monotonic()).result(done))
                assert isinstance(result, dict)
                name = found.name.encode(errors="backslashreplace").decode()  # a file name may contain any bytes
                print(dumps({"input": name, **result}).decode(), flush=True)
                if folder and isinstance(found.frame, Frame):
                    _draw(found.frame, found.findings, _free_name(folder, Path(path).stem, drawn))
        except (InputError, ModelError) as error:  # outputs for one input may not be finite
            say([f"edge-infer: {error}"], sys.stderr)
            failed += 1
    return 1 if failed else 0


def _check_file(path: str) -> None:
    """Raise `InputError` for a folder: opening it would fail with a permission error of the sandbox."""
    if Path(path).is_dir():
        raise InputError(f"{path}: {os.strerror(errno.EISDIR)}")


def _draw(frame: Frame, findings: Findings, path: Path) -> None:
    import cv2

    from edge_infer.engine.replay.drawing import annotate

    encoded = cv2.imencode(".jpg", annotate(frame.pixels, findings), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    try:
        write_private(path, encoded.tobytes())
    except OSError as error:
        raise InputError(f"{path}: the annotated picture cannot be written: {error.strerror or error}") from error


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--annotate {folder}: cannot be used as a folder: it is a file")


def _free_name(folder: Path, stem: str, used: set[Path]) -> Path:
    """Return ``STEM.jpg``, or ``STEM-2.jpg`` and so on if another input of this run uses that name."""
    path, number = folder / f"{stem}.jpg", 1
    while path in used:
        number += 1
        path = folder / f"{stem}-{number}.jpg"
    used.add(path)
    return path
