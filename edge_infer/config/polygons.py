"""Polygons in a configuration file: areas of a picture."""

from __future__ import annotations

from typing import Any, Final

from edge_infer.config.fields import Kind, polygon_point
from edge_infer.config.sentences import ProblemAtError, wrong

Point = tuple[float, float]


def polygon(value: Any) -> tuple[Point, ...]:
    """Return at least three corners around an area."""
    return _with_area(_corners(value))


def _corners(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list) or not 3 <= len(value) <= 100:
        count = f"{len(value)} points" if isinstance(value, list) else wrong("", value).partition("not ")[2]
        raise ValueError(f"expected a polygon of 3 to 100 points [x, y], not {count}")
    corners = []
    for index, item in enumerate(value):
        try:
            corners.append(polygon_point(item))
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
    return tuple(corners)


def _with_area(corners: tuple[Point, ...]) -> tuple[Point, ...]:
    following = [*corners[1:], corners[0]]
    area = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(corners, following, strict=True)) / 2
    if abs(area) < 1e-6:
        raise ValueError("this polygon has no area; give its corners in order, all the way around")
    return corners


def simple_polygon(value: Any) -> tuple[Point, ...]:
    """Return a polygon whose border does not cross itself; otherwise its inside is ambiguous."""
    corners = _corners(value)
    count = len(corners)
    edges = [(corners[index], corners[(index + 1) % count]) for index in range(count)]
    for one in range(count):
        for other in range(one + 2, count):
            if (other + 1) % count != one and _cross(*edges[one], *edges[other]):
                raise ValueError(
                    f"the border crosses itself: the edge after point {one + 1} meets the one after point {other + 1}; "
                    "give the corners in order, all the way around"
                )
    return _with_area(corners)


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Return whether two edges have a point in common."""
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(turn == 0 and _within(*end) for turn, end in zip(turns, ends, strict=True))


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _within(a: Point, b: Point, c: Point) -> bool:
    """Return whether a point on the line through two others lies between them."""
    return all(min(a[axis], b[axis]) <= c[axis] <= max(a[axis], b[axis]) for axis in (0, 1))


POINT_JSON: Final = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "maximum": 1},
    "minItems": 2,
    "maxItems": 2,
}
POLYGON: Final = Kind(polygon, {"type": "array", "minItems": 3, "maxItems": 100, "items": POINT_JSON})
ZONE_POLYGON: Final = Kind(simple_polygon, POLYGON.json)
