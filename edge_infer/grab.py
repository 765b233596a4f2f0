"""One picture of a configured source, to draw masks and zones by: from the running daemon, or without one directly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_infer import memfd
from edge_infer.config.compile import compile_config
from edge_infer.config.plan import Polygon, SourcePlan
from edge_infer.engine.frame import Pixels
from edge_infer.engine.mask import black_out
from edge_infer.errors import ConfigError, EdgeInferError, InputError, SourceError
from edge_infer.readers.orient import Orientation
from edge_infer.readers.sources import Picture, make_source
from edge_infer.supervisor.control import NotRunningError, ask, find_socket

TRIES: Final = 3
LINES: Final = 10


def grab(config: Path, source: str, output: Path, *, grid: bool = False) -> str:
    """Saves the picture (blue first inside) as ``output``, masks black, and says where it is from."""
    try:
        pixels, how = _from_daemon(config, source), "from the running daemon"
    except NotRunningError:
        pixels, how = _directly(config, source), "opened directly: no daemon runs"
    if grid:
        draw_grid(pixels)
    data = cv2.imencode(output.suffix, pixels)[1].tobytes()
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from error
    return how


def _from_daemon(config: Path, source: str) -> Pixels:
    file = memfd.create("picture")
    try:
        answer = ask(find_socket(config), {"do": "grab", "source": source}, files=(file,), timeout=15.0)
        if answer.get("error") or not answer.get("ok"):
            raise EdgeInferError(f"the daemon gives no picture of {source}: {answer.get('error') or 'no reason given'}")
        data = os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise EdgeInferError(f"the daemon's picture of {source} cannot be read ({len(data)} bytes)")
    return np.asarray(pixels, np.uint8)


def _directly(config: Path, source: str) -> Pixels:
    plan, masks = _plan_of(config, source)
    picture = None
    with make_source(plan) as opened:
        for _ in range(TRIES):  # the first pictures of many cameras are dark
            picture = opened.read() or picture
    if not isinstance(picture, Picture):
        raise SourceError(f"source {source} gave no picture")
    pixels = black_out(Orientation(plan.rotate, plan.flip).copy(picture.pixels), masks)
    if picture.color == "bgr":
        return pixels
    code = cv2.COLOR_RGB2BGR if picture.color == "rgb" else cv2.COLOR_GRAY2BGR
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _plan_of(config: Path, source: str) -> tuple[SourcePlan, tuple[Polygon, ...]]:
    """The plan of a source, and what nobody is shown of it."""
    compiled = compile_config(config)
    if compiled.plan is None:
        raise ConfigError("\n".join(map(str, compiled.problems)))
    known = {plan.name: plan for plan in compiled.plan.sources}
    if source not in known:
        raise ConfigError(f"{config} has no source {source!r}; it has {', '.join(sorted(known))}")
    plan = known[source]
    if plan.gives != "image":
        pictures = ", ".join(sorted(name for name, other in known.items() if other.gives == "image")) or "none"
        raise ConfigError(
            f"source {source} is of kind {plan.kind}, which gives {plan.gives} and no pictures; "
            f"sources of pictures in {config}: {pictures}"
        )
    return known[compiled.plan.root(source)], compiled.plan.masks(source)


def draw_grid(pixels: Pixels) -> None:
    """Draws lines at every tenth of width and height, with the fractions as masks and zones spell them."""
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
