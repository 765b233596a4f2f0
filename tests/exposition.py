"""Reads the text format of Prometheus, strictly enough to find what Prometheus would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

LINE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>[-+.e0-9]+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')
Series = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Series, float]:
    """Every sample by its name and labels; each series comes once, after the type of its family."""
    found: dict[Series, float] = {}
    types: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} comes twice"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match, line
            series = match["name"], frozenset(LABEL.findall(match["labels"] or ""))
            assert series not in found, f"{line}: this series comes twice"
            assert re.sub("_(bucket|sum|count)$", "", match["name"]) in types or match["name"] in types, line
            found[series] = float(match["value"])
    return found


def counters(text: str) -> dict[Series, float]:
    """The samples that may never go back: those of counters, and of the histogram."""
    names = set(re.findall(r"^# TYPE (\S+) (?:counter|histogram)$", text, re.MULTILINE))
    return {
        (name, labels): value
        for (name, labels), value in samples(text).items()
        if name in names or re.sub("_(bucket|sum|count)$", "", name) in names
    }


def value(text: str, name: str, **labels: str) -> float | None:
    """One sample; None if it is not there."""
    return samples(text).get((f"edge_infer_{name}", frozenset(labels.items())))


def label_values(text: str) -> Iterator[str]:
    """Every value of a label."""
    for _, labels in samples(text):
        yield from (found for _, found in labels)


def by_label(text: str, name: str, label: str) -> Mapping[str, float]:
    """The samples of a family by one of its labels."""
    return {
        dict(labels)[label]: found for (each, labels), found in samples(text).items() if each == f"edge_infer_{name}"
    }
