"""References between pipelines: missing parents and circles. The values were not validated and may have any faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_infer.config.crops import SHORT
from edge_infer.config.sentences import suggestion
from edge_infer.config.words import shown

Place = tuple[str, ...]


def wrong_parents(pipelines: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield the place and a sentence for each missing parent and each circle."""
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
            text = f"a circle, in which nothing comes first: crops for {way}; one of them needs a camera or the like"
            yield parents[name][0], text


def _circle(name: str, parents: Mapping[str, tuple[Place, str]]) -> list[str]:
    """Return the pipelines on the way from one back to itself; empty if the way ends elsewhere."""
    way = [name]
    while (found := parents.get(way[-1])) is not None:
        if found[1] == name:
            return way
        if found[1] in way:
            return []
        way.append(found[1])
    return []


def _parents(pipelines: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Place, str]]]:
    """Yield each pipeline of crops: the place of the reference, and the pipeline whose objects are cut out."""
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
