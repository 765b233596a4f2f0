"""Keys for what a pipeline watches: tracks, zones, lines, events and drift."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edge_infer.config.schema.keys import planned, with_keys_of
from edge_infer.plan.records import DriftPlan, EventsPlan, LinePlan, TrackPlan, ZonePlan
from edge_infer.yamlfile.error_text import ProblemAtError, unknown, wrong
from edge_infer.yamlfile.fields import Kind, choice, polygon_point, text
from edge_infer.yamlfile.section import Section, Short
from edge_infer.yamlfile.units import SECONDS

# Polygons in a configuration file: areas of a picture.

Point = tuple[float, float]


def polygon(value: Any) -> tuple[Point, ...]:
    """Return the corners of an area, at least three."""
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
    """Return a polygon with a border that does not cross itself; otherwise its inside would be ambiguous."""
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


# Lists of labels in a configuration file.

LABEL_LIST: Final = {"type": "array", "minItems": 1, "items": {"type": ["string", "number"]}}


def parse_labels(value: Any, expected: str = "a list of labels such as [person, dog]") -> tuple[str, ...]:
    """Return the labels of a list that is not empty.

    Raises ValueError with ``expected`` or the invalid item in its text.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(wrong(expected, value) if value != [] else f"expected {expected}; this one is empty")
    found, kind = [], text("a label", most=128)
    for index, item in enumerate(value):
        try:
            found.append(kind.parse(item))
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
    return tuple(found)


LABELS: Final = Kind(parse_labels, LABEL_LIST)
MOST_PLACES: Final = 32
"""Maximum number of zones, and of lines, in one pipeline."""
SHORTEST: Final = 0.01
"""Minimum length of a line along its longer axis, as a share of the frame."""
ANCHOR: Final = choice("bottom", "center")


def on_or_off(value: Any, keys: str) -> Any:
    """Convert the short forms: ``true`` sets all defaults, ``false`` switches the feature off."""
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, (dict, Section)):
        raise ValueError(wrong(f"true, false, or the keys {keys}", value))  # noqa: TRY004
    return value


def _track(value: Any) -> Any:
    return on_or_off(value, ", ".join(Track.model_fields))


def _events(value: Any) -> Any:
    return on_or_off(value, ", ".join(Events.model_fields))


@with_keys_of(TrackPlan)
class Track(Section):
    """Following objects from frame to frame."""


@with_keys_of(ZonePlan, polygon=ZONE_POLYGON, labels=LABELS)
class Zone(Section):
    """An area of the picture."""


def _zone(value: Any) -> Any:
    """Convert the short form: a list is taken as the polygon."""
    return {"polygon": value} if isinstance(value, list) else value


ZONE: Final = Short(_zone, dict(ZONE_POLYGON.json))


def _line(value: Any) -> LinePlan:
    """Return a line without its name from the keys ``from``, ``to``, ``labels`` and ``anchor``."""
    keys = ("from", "to", "labels", "anchor")
    if not isinstance(value, dict):
        raise ValueError(wrong(f"the keys {', '.join(keys)}", value))  # noqa: TRY004
    for key in value:
        if key not in keys:
            raise ProblemAtError((key,), unknown(key, keys))
    for key in keys[:2]:
        if key not in value:
            raise ProblemAtError((key,), f"is missing; for example {key}: [0.2, 0.5]")
    start, end = _part(value, "from", polygon_point), _part(value, "to", polygon_point)
    if max(abs(start[0] - end[0]), abs(start[1] - end[1])) < SHORTEST:
        raise ProblemAtError(("to",), "is too close to from; a line needs two different points")
    labels = _part(value, "labels", parse_labels) if "labels" in value else None
    return LinePlan("", start, end, labels, _part(value, "anchor", ANCHOR.parse) if "anchor" in value else "bottom")


def _part(value: Mapping[str, Any], key: str, parse: Any) -> Any:
    try:
        return parse(value[key])
    except ValueError as error:
        raise ProblemAtError((key, *getattr(error, "path", ())), str(error)) from error


LINE: Final = Kind(
    _line,
    {
        "type": "object",
        "properties": {
            "from": {**POINT_JSON, "description": "Where it begins."},
            "to": {**POINT_JSON, "description": "Where it ends."},
            "labels": {**LABEL_LIST, "description": "Only objects with these labels; without it all."},
            "anchor": {**ANCHOR.json, "description": "The point of an object's box that crosses."},
        },
        "required": ["from", "to"],
        "additionalProperties": False,
    },
)


def places(value: Any) -> Any:
    """Check that there are not too many zones or lines."""
    if isinstance(value, dict) and len(value) > MOST_PLACES:
        raise ValueError(f"expected at most {MOST_PLACES} names, not {len(value)}")
    return value


PLACES: Final = Short(places)


def _most(value: Any) -> float:
    """Return the events per minute for ``60/min``, ``1/s`` or ``100/h``."""
    found = re.fullmatch(r"([0-9]{1,6}) ?/ ?(s|min|h)", value) if isinstance(value, str) else None
    a_minute = int(found[1]) * 60 / SECONDS["m" if found[2] == "min" else found[2]] if found else 0.0
    if not 1 <= a_minute <= 6000:
        raise ValueError(wrong("a number of events between 1/min and 6000/min, such as 60/min, 2/s or 100/h", value))
    return a_minute


MOST: Final = Kind(_most, {"type": "string", "pattern": "^[0-9]+ ?/ ?(s|min|h)$"}, lambda found: f"{found:g}/min")


@with_keys_of(EventsPlan, most=MOST)
class Events(Section):
    """Which events are published, and how often."""


TRACK: Final = Short(_track, {"type": "boolean"})
EVENTS: Final = Short(_events, {"type": "boolean"})


# Keys of drift detection: report when a camera's pictures or a model's findings no longer look as learned.


@with_keys_of(DriftPlan)
class Drift(Section):
    """Compare the camera's pictures and the model's findings with those of the first days."""


def _drift(value: Any) -> Any:
    return None if value is None else on_or_off(value, ", ".join(Drift.model_fields))


DRIFT: Final = Short(_drift, {"type": ["boolean", "null"]})


def drift_plan(device: Drift | None, section: Drift | None, *, own: bool) -> DriftPlan | None:
    """Return the drift plan of a pipeline.

    ``own``: the pipeline has the key itself; otherwise the section of the device applies.
    """
    chosen = section if own else device
    return None if chosen is None else planned(DriftPlan, chosen)
