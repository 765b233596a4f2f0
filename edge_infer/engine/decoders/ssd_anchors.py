"""Anchors of SSD models that do not contain them: generated as in TensorFlow's Object Detection API, or listed.

There are two generators. The parameters have the same names as in a training configuration:

- ``ssd_anchor_generator``: ``{layers: 6, min_scale: 0.2, max_scale: 0.95}``. Further parameters are ``scales`` (instead
  of ``min_scale`` and ``max_scale``), ``aspect_ratios``, ``interpolated`` (the aspect of the anchor between two scales,
  0 for none), ``reduce_lowest`` and ``stride`` (pixels of the first layer's cells).
- ``multiscale_anchor_generator``: ``{levels: [3, 7], anchor_scale: 4, aspect_ratios: [1, 2, 0.5], scales_per_octave:
  2}``.

A layer has half the cells of the previous one, rounding up. Source: ``object_detection/anchor_generators`` of the
TensorFlow Model Garden; "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325), section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders.options import number, wrong
from edge_infer.engine.records import Array
from edge_infer.errors import ModelError

SSD: Final = frozenset(
    {"layers", "min_scale", "max_scale", "scales", "aspect_ratios", "interpolated", "reduce_lowest", "stride"}
)
MULTISCALE: Final = frozenset({"levels", "anchor_scale", "aspect_ratios", "scales_per_octave"})
ASPECTS: Final = (1.0, 2.0, 0.5, 3.0, 1 / 3)
LARGEST: Final = 64 << 20
"""Maximum size of a file of anchors in bytes."""
Shape = tuple[float, float]
"""Scale and aspect (width / height) of an anchor."""


def made_anchors(said: JsonValue, size: tuple[int, int]) -> Array:
    """Return rows of centre x, centre y, width and height ``[4, n]`` in fractions of an input ``size`` (width, height).

    The anchors are ordered by layer, row and column, and within a cell as the generator lists them. Raises `ModelError`
    for parameters that no generator accepts.
    """
    if not isinstance(said, dict):
        raise wrong(
            "anchors", said, "{layers: 6, min_scale: 0.2, max_scale: 0.95} or {levels: [3, 7], anchor_scale: 4}"
        )
    first, known = ("levels", MULTISCALE) if "levels" in said else ("layers", SSD)
    unknown = next((key for key in said if key not in known), None)
    if unknown is not None:
        right = ", ".join(sorted(known))
        raise ModelError(
            f"the manifest's `decoder: anchors` has the unknown parameter {unknown!r}; known with {first}: {right}",
            key="decoder",
        )
    parts = _multiscale(said, size) if "levels" in said else _ssd(said, size)
    return np.concatenate(parts, axis=1).astype(np.float32)


def read_anchors(path: str) -> Array:
    """Read anchors from a file; raise `ModelError` with the name of the file.

    The file has a line ``y x height width`` (y and x of the centre) for each anchor, or four lines, one for each of
    these numbers.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}", key="decoder") from error
    if len(data) > LARGEST:
        raise ModelError(f"{path} has {len(data)} bytes; a file of anchors has at most {LARGEST}", key="decoder")
    rows = [line.replace(b",", b" ").split() for line in data.splitlines() if line.strip()]
    try:
        table = np.array(rows, np.float32)
    except ValueError as error:
        raise ModelError(f"{path} is not a table of numbers: {error}", key="decoder") from error
    if table.ndim != 2 or 4 not in table.shape or not np.isfinite(table).all():
        raise ModelError(f"{path}: expected lines `y x height width`, or four lines of these", key="decoder")
    by_kind = table.T if table.shape[1] == 4 else table
    found: Array = by_kind[[1, 0, 3, 2]]
    if not (found[2:] > 0).all():
        raise ModelError(f"{path}: an anchor has no height or no width", key="decoder")
    return found


def _ssd(said: Mapping[str, JsonValue], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    layers = round(_number(said, "layers", 1, 20, 6))
    scales = _scales(said, layers)
    aspects = _numbers(said, "aspect_ratios", ASPECTS)
    between = _number(said, "interpolated", 0, 100, 1)
    reduce = said.get("reduce_lowest", True)
    if not isinstance(reduce, bool):
        raise wrong("anchors: reduce_lowest", reduce, "true or false")
    smaller = min(size)
    parts = []
    for layer, (rows, columns) in enumerate(_grids(size, round(_number(said, "stride", 1, 1024, 16)), layers)):
        scale, following = scales[layer], scales[layer + 1]
        shapes: list[Shape] = [(scale, aspect) for aspect in aspects]
        if between:
            shapes.append(((scale * following) ** 0.5, between))
        if layer == 0 and reduce:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
        parts.append(_tiled(x, y, shapes, (smaller / size[0], smaller / size[1])))
    return parts


def _scales(said: Mapping[str, JsonValue], layers: int) -> list[float]:
    """Return the scale of each layer, followed by 1."""
    if "scales" in said:
        found = _numbers(said, "scales", ())
        if len(found) != layers:
            raise wrong("anchors: scales", list(found), f"a number for each of {layers} layers")
        return [*found, 1.0]
    low, high = _number(said, "min_scale", 0, 10, 0.2), _number(said, "max_scale", 0, 10, 0.95)
    return [*(low + (high - low) * layer / max(1, layers - 1) for layer in range(layers)), 1.0]


def _multiscale(said: Mapping[str, JsonValue], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    levels = [round(level) for level in _numbers(said, "levels", ())]
    if len(levels) != 2 or not 1 <= levels[0] <= levels[1] <= 12:
        raise wrong("anchors: levels", said.get("levels"), "the first and the last of 1 to 12, such as [3, 7]")
    scale = _number(said, "anchor_scale", 0.01, 100, 4)
    octave = round(_number(said, "scales_per_octave", 1, 16, 2))
    aspects = _numbers(said, "aspect_ratios", (1.0, 2.0, 0.5))
    shapes = [(scale * 2 ** (part / octave), aspect) for aspect in aspects for part in range(octave)]
    width, height = size
    parts = []
    for level, (rows, columns) in enumerate(_grids(size, 2 ** levels[0], levels[1] - levels[0] + 1), levels[0]):
        cell = 2.0**level
        x, y = (np.arange(count) * cell + _begin(side, cell) for count, side in ((columns, width), (rows, height)))
        parts.append(_tiled(x / width, y / height, shapes, (cell / width, cell / height)))
    return parts


def _begin(side: int, cell: float) -> float:
    """Return the first centre: the middle of its cell if the cells cover the picture exactly, else the edge."""
    return cell / 2 if side % cell == 0 or side == 1 else 0.0


def _grids(size: tuple[int, int], stride: int, layers: int) -> list[tuple[int, int]]:
    """Return the numbers of rows and columns of each layer."""
    found = [(-(-size[1] // stride), -(-size[0] // stride))]
    while len(found) < layers:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def _tiled(
    x: NDArray[np.float64], y: NDArray[np.float64], shapes: Sequence[Shape], base: tuple[float, float]
) -> NDArray[np.float64]:
    """Return all anchors of a layer: the same ``shapes``, in units of ``base``, at each centre."""
    scale, aspect = np.array(shapes, np.float64).T
    wide, tall = scale * np.sqrt(aspect) * base[0], scale / np.sqrt(aspect) * base[1]
    cells = len(x) * len(y)
    return np.stack(
        (
            np.tile(np.repeat(x, len(shapes)), len(y)),
            np.repeat(y, len(x) * len(shapes)),
            np.tile(wide, cells),
            np.tile(tall, cells),
        )
    )


def _number(said: Mapping[str, JsonValue], key: str, low: float, high: float, usual: float) -> float:
    return number(f"anchors: {key}", said[key], low, high) if key in said else usual


def _numbers(said: Mapping[str, JsonValue], key: str, usual: Sequence[float]) -> tuple[float, ...]:
    if key not in said:
        return tuple(usual)
    items: Any = said[key]
    if not isinstance(items, list) or not 1 <= len(items) <= 64:
        raise wrong(f"anchors: {key}", items, "a list of numbers")
    return tuple(number(f"anchors: {key}", item, 1e-6, 1000) for item in items)
