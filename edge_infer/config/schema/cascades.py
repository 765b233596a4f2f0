"""Cascades in a configuration file: a pipeline runs its model on objects cut out of the frames of another pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from edge_infer.config.schema.keys import with_keys_of
from edge_infer.config.schema.scene import LABELS
from edge_infer.config.schema.signal_sources import SourceSection
from edge_infer.plan.records import CropsPlan
from edge_infer.yamlfile.error_text import ProblemAtError, suggestion, wrong
from edge_infer.yamlfile.fields import NAME, Kind
from edge_infer.yamlfile.scalars import shown
from edge_infer.yamlfile.section import TOLD

SHORT: Final = "crops"
"""The key that names the parent pipeline if the cascade is written into its own pipeline."""


@with_keys_of(CropsPlan, pipeline=NAME, labels=LABELS)
class Crops(SourceSection):
    """Objects that another pipeline has detected, each cut out of the frame in which it was detected."""

    kind: Literal["crops"]


def _from(value: Any) -> str | Crops:
    """Return the name of a source, or the section of a cascade that is written in place of the name."""
    if not isinstance(value, dict):
        try:
            found: str = NAME.parse(value)
        except ValueError as error:
            raise ValueError(wrong("the name of a source, or {crops: PIPELINE}", value)) from error
        return found
    for key in ("kind", "pipeline"):
        if key in value:
            raise ProblemAtError((key,), f"is not used here; name the pipeline with {SHORT}: PIPELINE")
    spelled = {("pipeline" if key == SHORT else key): inner for key, inner in value.items()}
    try:
        return Crops.model_validate({**spelled, "kind": SHORT})
    except ValidationError as error:
        raise ValidationError.from_exception_data("source", [_renamed(each) for each in error.errors()]) from None


def _renamed(error: Any) -> InitErrorDetails:
    """Return the error with ``crops``, the spelling of the key ``pipeline`` in this place."""
    steps = (SHORT, *error["loc"][1:]) if error["loc"][:1] == ("pipeline",) else error["loc"]
    text = error["msg"].replace("for example pipeline:", f"for example {SHORT}:")
    return InitErrorDetails(type=PydanticCustomError(TOLD, "{text}", {"text": text}), loc=steps, input=None)


class _ByName(Kind):
    """Kind of the key `source`. In JSON Schema it is a name, or the keys of a cascade."""

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        cascade = Crops.model_json_schema()
        keys = {SHORT if key == "pipeline" else key: body for key, body in cascade["properties"].items()}
        del keys["kind"]
        section = {"type": "object", "properties": keys, "required": [SHORT], "additionalProperties": False}
        return {"anyOf": [dict(NAME.json), section]}


SOURCE: Final = _ByName(_from)


# References between pipelines: missing parents and circular references. The values are not validated yet and may have
# any fault.

Place = tuple[str, ...]


def wrong_parents(pipelines: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield the position of each missing parent and each circular reference, with a sentence."""
    parents = dict(_parents(pipelines, sources))
    everything = {("sources", name, "pipeline"): parent for name, parent in _named(sources)} | dict(parents.values())
    for place, parent in everything.items():
        if parent not in pipelines:
            yield place, f"there is no pipeline {shown(parent)}; {suggestion(parent, pipelines)}"
    told: set[str] = set()
    for name in parents:
        circle = _circle(name, parents)
        if circle and not told & set(circle):
            told |= set(circle)
            way = " of ".join(shown(each) for each in (*circle, name))
            text = f"circular reference: crops for {way}; one of them needs a camera or another source of its own"
            yield parents[name][0], text


def _circle(name: str, parents: Mapping[str, tuple[Place, str]]) -> list[str]:
    """Return the pipelines on the way from a pipeline back to itself; empty if there is no circle."""
    way = [name]
    while (found := parents.get(way[-1])) is not None:
        if found[1] == name:
            return way
        if found[1] in way:
            return []
        way.append(found[1])
    return []


def _parents(pipelines: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Place, str]]]:
    """Yield each cascade with the position of its reference and the name of its parent pipeline."""
    named = dict(_named(sources))
    for name, pipeline in pipelines.items():
        source = pipeline.get("source") if isinstance(pipeline, dict) else None
        if isinstance(source, dict) and isinstance(source.get(SHORT), str):
            yield name, (("pipelines", name, "source", SHORT), str(source[SHORT]))
        elif isinstance(source, str) and source in named:
            yield name, (("sources", str(source), "pipeline"), named[source])


def _named(sources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, source in sources.items():
        if isinstance(source, dict) and source.get("kind") == SHORT and isinstance(source.get("pipeline"), str):
            yield str(name), str(source["pipeline"])
