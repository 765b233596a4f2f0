"""Edits of masks, zones, lines, thresholds and tracking in the text of a configuration file.

The rest of the text stays unchanged. Names of zones and lines leave the device in states and events. So an edit cannot
choose a name: a new zone or line gets the smallest free number, and only a person with an editor can rename it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from edge_infer.errors import ConfigError
from edge_infer.yamlfile.edit import (
    Edit,
    adding,
    appending,
    below,
    edited,
    every,
    removing,
    removing_item,
    repeated,
    rewriting,
)
from edge_infer.yamlfile.load import parse_document

DECIMALS: Final = 4
MAX_CORNERS: Final = 100
MAX_MASKS: Final = 100
THRESHOLD_DECIMALS: Final = 3
Points = Sequence[tuple[float, float]]


class DrawingError(ConfigError):
    """A drawing that results in no edit, because it names something that does not exist or its points are invalid."""


def drawn(path: Path, data: bytes, pipeline: str, edits: Sequence[Mapping[str, Any]]) -> tuple[bytes, list[str]]:
    """Return the file's bytes after all edits, and a sentence about each edit.

    The key ``what`` of an edit is ``mask``, ``zone``, ``line``, ``threshold`` or ``track``, and determines the other
    keys. Raises `DrawingError` for an invalid edit. Raises `ConfigError` if the text cannot be edited here, or if an
    edit would change anything else.
    """
    before = parse_document(path, data)
    if before.problems or before.value is None:
        raise ConfigError("\n".join(map(str, before.problems)) or f"{path} is empty")
    told, value, text = [], before.value, data.decode("utf-8")
    if not isinstance(_keys(_keys(value).get("pipelines")).get(pipeline), dict):
        raise DrawingError(f"{path} has no pipeline {pipeline}")
    for edit in edits:
        what = edit.get("what")
        change = _CHANGES.get(what) if isinstance(what, str) else None
        if change is None:
            raise DrawingError(f"expected one of {', '.join(_CHANGES)} as the kind of edit")
        body = value["pipelines"][pipeline]
        sketch = _Sketch(path, pipeline, text, body)
        wanted = change(sketch, edit)
        text = sketch.text
        value = {**value, "pipelines": {**value["pipelines"], pipeline: wanted}}
        told.append(sketch.told)
        after = parse_document(path, text.encode("utf-8"))
        if after.problems or after.value != value:
            raise ConfigError(f"the page cannot edit {path} as it is written: change {sketch.told} with an editor")
    return text.encode("utf-8"), told


class _Sketch:
    """The text of a file during one edit of a pipeline."""

    def __init__(self, path: Path, pipeline: str, text: str, body: Mapping[str, Any]) -> None:
        self.text = text
        self.told = f"pipelines.{pipeline}"
        self.body = body
        self._path = path
        self._root = yaml.compose(text, yaml.SafeLoader)
        self.place, self.group = below(below(self._root, "pipelines")[1], pipeline)

    def check(self, nodes: Sequence[Any]) -> None:
        """Raise `ConfigError` if an alias repeats one of these nodes: the edit would change all occurrences."""
        if repeated(self._root, [self.group, *nodes]):
            line = self.place.start_mark.line + 1
            raise ConfigError(
                f"{self._path}:{line}: the page cannot edit anchors (&) and aliases (*): change {self.told} with an "
                "editor"
            )

    def make(self, edit: Edit) -> None:
        """Apply the edit to the text."""
        self.text = edited(self.text, [edit])

    def set(self, key: str, value: str) -> None:
        """Set a key of the pipeline to a value in flow style."""
        if key in self.body:
            node = below(self.group, key)
            self.check([*every(node[1])])
            self.make(rewriting(self.text, *node, value))
        else:
            self.check([])
            self.make(adding(self.text, self.group, key, value))

    def remove(self, key: str) -> None:
        """Remove a key of the pipeline."""
        self.check([*every(below(self.group, key)[1])])
        self.make(removing(self.text, self.group, key))


def _threshold(sketch: _Sketch, edit: Mapping[str, Any]) -> dict[str, Any]:
    value = edit.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DrawingError("expected a threshold between 0 and 1")
    written = _number(round(value, THRESHOLD_DECIMALS))
    sketch.set("threshold", written)
    sketch.told += f".threshold: {written}"
    return {**sketch.body, "threshold": float(written)}


def _track(sketch: _Sketch, edit: Mapping[str, Any]) -> dict[str, Any]:
    if edit.get("value") is not True or sketch.body.get("track"):
        raise DrawingError("track can only be added to a pipeline without it, with the value true")
    sketch.set("track", "true")
    sketch.told += ".track: true"
    return {**sketch.body, "track": True}


def _mask(sketch: _Sketch, edit: Mapping[str, Any]) -> dict[str, Any]:
    found, index, points = sketch.body.get("mask"), edit.get("name"), edit.get("points")
    masks = found if isinstance(found, list) else []
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if type(index) is not int or not 0 <= index <= min(len(masks), MAX_MASKS - 1):
        raise DrawingError(f"expected the number of a mask from 0 to {len(masks)}")
    sketch.told += f".mask[{index}]"
    if points is None:
        if index == len(masks):
            raise DrawingError(f"there is no mask {index}")
        sketch.told += ": removed"
        return _without_mask(sketch, masks, index)
    polygon = _points(points, 3, MAX_CORNERS)
    shape = [list(point) for point in polygon]
    if not masks:
        sketch.set("mask", f"[{_flow(polygon)}]")
    else:
        node = below(sketch.group, "mask")[1]
        sketch.check([*every(node)])
        if index == len(masks):
            sketch.make(appending(sketch.text, node, _flow(polygon)))
        else:
            sketch.make(rewriting(sketch.text, None, node.value[index], _flow(polygon)))
    sketch.told += ": added" if index == len(masks) else ": changed"
    return {**sketch.body, "mask": [*masks[:index], shape, *masks[index + 1 :]]}


def _without_mask(sketch: _Sketch, masks: list[Any], index: int) -> dict[str, Any]:
    if len(masks) == 1:
        sketch.remove("mask")
        return {key: value for key, value in sketch.body.items() if key != "mask"}
    node = below(sketch.group, "mask")[1]
    sketch.check([*every(node)])
    sketch.make(removing_item(sketch.text, node, index))
    return {**sketch.body, "mask": [*masks[:index], *masks[index + 1 :]]}


def _zone(sketch: _Sketch, edit: Mapping[str, Any]) -> dict[str, Any]:
    def shape(before: Any, points: Points) -> tuple[Any, Mapping[str, str]]:
        corners = [list(point) for point in points]
        if isinstance(before, dict):
            return {**before, "polygon": corners}, {"polygon": _flow(points)}
        return corners, {"": _flow(points)}

    return _place(sketch, edit, "zones", (3, MAX_CORNERS), shape)


def _line(sketch: _Sketch, edit: Mapping[str, Any]) -> dict[str, Any]:
    def shape(before: Any, points: Points) -> tuple[Any, Mapping[str, str]]:
        start, end = points
        values = {"from": list(start), "to": list(end)}
        if isinstance(before, dict):
            return {**before, **values}, {"from": _flow_point(start), "to": _flow_point(end)}
        return values, {"": f"{{from: {_flow_point(start)}, to: {_flow_point(end)}}}"}

    return _place(sketch, edit, "lines", (2, 2), shape)


Shape = Callable[[Any, Points], tuple[Any, Mapping[str, str]]]
"""Function that returns the new value, and the texts of the keys that change (under an empty key: of the whole
value)."""


def _place(
    sketch: _Sketch, edit: Mapping[str, Any], section: str, corners: tuple[int, int], shape: Shape
) -> dict[str, Any]:
    places, name = _keys(sketch.body.get(section)), edit.get("name")
    if "rename" in edit:
        raise DrawingError("the page cannot rename: rename it in the configuration, with edge-infer edit")
    if name is not None and (not isinstance(name, str) or name not in places):
        raise DrawingError(f"expected the name of one of the {section}, or none for a new one")
    if name is not None and edit.get("points", ()) is None:
        sketch.told += f".{section}.{name}: removed"
        return _without_place(sketch, section, places, name)
    points = _points(edit.get("points"), *corners)
    name = free_name(edit["what"], places) if name is None else name
    sketch.told += f".{section}.{name}"
    value, texts = shape(places.get(name), points)
    _write_place(sketch, section, places, name, texts)
    sketch.told += ": changed" if name in places else ": added"
    return {**sketch.body, section: {**places, name: value}}


def free_name(what: str, taken: Collection[str]) -> str:
    """Return the name of a new zone or line: ``zone-1`` or the next number that is not taken."""
    return next(name for number in itertools.count(1) if (name := f"{what}-{number}") not in taken)


def _write_place(sketch: _Sketch, section: str, places: Mapping[str, Any], name: str, texts: Mapping[str, str]) -> None:
    if not places:
        sketch.set(section, f"{{{name}: {texts['']}}}")
        return
    group = below(sketch.group, section)[1]
    sketch.check([*every(group)])
    if name not in places:
        sketch.make(adding(sketch.text, group, name, texts[""]))
        return
    place = below(group, name)
    if "" in texts:
        sketch.make(rewriting(sketch.text, *place, texts[""]))
        return
    edits = [rewriting(sketch.text, *below(place[1], key), text) for key, text in texts.items()]
    sketch.text = edited(sketch.text, edits)


def _without_place(sketch: _Sketch, section: str, places: Mapping[str, Any], name: str) -> dict[str, Any]:
    if len(places) == 1:
        sketch.remove(section)
        return {key: value for key, value in sketch.body.items() if key != section}
    group = below(sketch.group, section)[1]
    sketch.check([*every(group)])
    sketch.make(removing(sketch.text, group, name))
    return {**sketch.body, section: {each: value for each, value in places.items() if each != name}}


_CHANGES: Final[Mapping[str, Callable[[_Sketch, Mapping[str, Any]], dict[str, Any]]]] = {
    "mask": _mask,
    "zone": _zone,
    "line": _line,
    "threshold": _threshold,
    "track": _track,
}


def _points(value: Any, least: int, most: int) -> Points:
    """Return points within the frame, rounded; raises `DrawingError`."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise DrawingError(f"expected points: a list of {least} to {most} points [x, y]")
    found = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2:
            raise DrawingError("expected a point [x, y]")
        for part in point:
            if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0 <= part <= 1:
                raise DrawingError("expected a point [x, y] in fractions of the frame, both between 0 and 1")
        found.append((round(float(point[0]), DECIMALS), round(float(point[1]), DECIMALS)))
    return found


def _number(value: float) -> str:
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _flow_point(point: tuple[float, float]) -> str:
    return f"[{_number(point[0])}, {_number(point[1])}]"


def _flow(points: Points) -> str:
    return f"[{', '.join(map(_flow_point, points))}]"


def _keys(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
