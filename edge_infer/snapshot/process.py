"""The process that opens the source, or decodes the daemon's picture, for `edge_infer.snapshot.request`.

``python -m edge_infer.snapshot.process CONFIG SOURCE SUFFIX [--grid] [--given]``. If root starts this process, it
changes to another user. It enters the sandbox of a reader. It prints a `Taken` as one line of JSON, then the bytes of
the picture.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from edge_infer.config.in_child import compile_in_child
from edge_infer.contract.codec import Record, at_most, dumps
from edge_infer.errors import ConfigError, EdgeInferError, SourceError
from edge_infer.models.trials.child_main import die_with_parent, own_output
from edge_infer.plan.records import Polygon, SourcePlan
from edge_infer.platform.config_files import environment_for
from edge_infer.readers.environment import prepare
from edge_infer.sandbox import Fence, lock, privileges
from edge_infer.sandbox.change_user import give_up_root_for
from edge_infer.sandbox.needs import reader_fence

if TYPE_CHECKING:
    from edge_infer.frames.frame import Pixels

TRIES: Final = 3
LINES: Final = 10


class Taken(Record, frozen=True):
    """Outcome: ``error`` is the reason why there is no picture; ``code`` is the corresponding exit code."""

    error: Annotated[str, at_most(1 << 16)] = ""
    code: int = 0


def main() -> int:
    """Run the process and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m edge_infer.snapshot.process")
    parser.add_argument("config", type=Path)
    parser.add_argument("source")
    parser.add_argument("suffix")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--given", action="store_true", help="a picture of the daemon is on standard input")
    args = parser.parse_args()
    die_with_parent()
    answers = own_output()
    logging.basicConfig(level=logging.ERROR)
    prepare(os.environ)
    try:
        user = give_up_root_for(args.config)
        environment_for(args.config)  # so that no program of a source inherits variables in the file
        die_with_parent()  # the kernel resets this when the user changes
        if args.given:
            pixels = _decoded(sys.stdin.buffer.read(), args.source)
        else:
            pixels = _opened(args.config, args.source, {0} if user is not None else {0, os.geteuid()})
        if args.grid:
            draw_grid(pixels)
        import cv2

        data = cv2.imencode(args.suffix, pixels)[1].tobytes()
    except EdgeInferError as error:
        answers.write(dumps(Taken(str(error)[: 1 << 14], error.exit_code)) + b"\n")
    else:
        answers.write(dumps(Taken()) + b"\n" + data)
    answers.close()
    return 0


def _decoded(data: bytes, source: str) -> Pixels:
    lock("reader", fence=Fence())
    from edge_infer.frames.picture import decode_picture

    pixels = decode_picture(data) if data else None
    if pixels is None:
        raise EdgeInferError(f"the daemon's picture of {source} cannot be read ({len(data)} bytes)")
    return pixels


def _opened(config: Path, source: str, owners: Collection[int]) -> Pixels:
    plan, masks = _plan_of(config, source)
    fence = reader_fence(plan)
    lock("reader", network=plan.network, fence=fence, keep=privileges.READ_SEARCH, owners=owners)
    import cv2
    import numpy as np

    from edge_infer.frames.pixels import Orientation, black_out
    from edge_infer.readers.sources import Picture, make_source

    picture = None
    try:
        with make_source(plan) as opened:
            for _ in range(TRIES):  # the first pictures of many cameras are dark
                picture = opened.read() or picture
    except SourceError as error:
        raise SourceError(plan.shown(str(error))) from error
    if not isinstance(picture, Picture):
        raise SourceError(f"source {source} delivered no picture")
    pixels = black_out(Orientation(plan.rotate, plan.flip).copy(picture.pixels), masks)
    if picture.color == "bgr":
        return pixels
    code = cv2.COLOR_RGB2BGR if picture.color == "rgb" else cv2.COLOR_GRAY2BGR
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _plan_of(config: Path, source: str) -> tuple[SourcePlan, tuple[Polygon, ...]]:
    """Return the plan of a source and its masks; raises `ConfigError`."""
    compiled = compile_in_child(config)
    if compiled.plan is None:
        raise ConfigError("\n".join(map(str, compiled.problems)))
    known = {plan.name: plan for plan in compiled.plan.sources}
    if source not in known:
        raise ConfigError(f"{config} has no source {source!r}; known: {', '.join(sorted(known))}")
    plan = known[source]
    if plan.gives != "image":
        pictures = ", ".join(sorted(name for name, other in known.items() if other.gives == "image")) or "none"
        raise ConfigError(
            f"source {source} is of kind {plan.kind}, which delivers {plan.gives} and no pictures; "
            f"sources of pictures in {config}: {pictures}"
        )
    return known[compiled.plan.root(source)], compiled.plan.masks(source)


def draw_grid(pixels: Pixels) -> None:
    """Draw lines at every tenth of width and height, labelled with fractions in the form that masks and zones use."""
    import cv2

    height, width = pixels.shape[:2]
    scale = max(0.3, min(width, height) / 1000)
    for step in range(1, LINES):
        x, y = width * step // LINES, height * step // LINES
        for start, end in (((x, 0), (x, height)), ((0, y), (width, y))):
            cv2.line(pixels, start, end, (0, 0, 0), 3)
            cv2.line(pixels, start, end, (255, 255, 255), 1)
        for text, place in ((f"x {step / LINES:g}", (x + 3, int(24 * scale) + 2)), (f"y {step / LINES:g}", (3, y - 4))):
            cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 4, cv2.LINE_AA)
            cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


if __name__ == "__main__":
    sys.exit(main())
