"""A shadow takes the place of its model in the text of a file, and nothing else of it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_infer.config.edit import promoted
from edge_infer.errors import ConfigError

FILE = Path("config.yaml")
REST = "models: {old: {file: o}, new: {file: n}}\nsources: {s: {kind: synthetic}}\n"

EDITS = {
    "a block": (
        (
            "pipelines:\n  a:\n    source: s # x\n    model: old   # the first\n    # why\n    shadow: # so\n"
            "      model: new\n      share: 0.5 # much\n\n    # rate\n    fps: 5\n"
        ),
        "pipelines:\n  a:\n    source: s # x\n    model: new   # the first\n    # why\n\n    # rate\n    fps: 5\n",
    ),
    "a block at the end": (
        "pipelines:\n  a:\n    shadow: {model: 'new'}  # so\n    source: s\n    model: old\n",
        "pipelines:\n  a:\n    source: s\n    model: 'new'\n",
    ),
    "brackets": (
        "pipelines: {a: {source: s, model: old, shadow: {model: new, share: 0.1}, fps: 5}} # x\n",
        "pipelines: {a: {source: s, model: new, fps: 5}} # x\n",
    ),
    "last in brackets": (
        "pipelines: {a: {source: s, model: old, shadow: {model: new}}}\n",
        "pipelines: {a: {source: s, model: new}}\n",
    ),
    "brackets over lines": (
        "pipelines:\n  a: {source: s,\n      shadow: {model: new,\n               share: 1},\n      model: old}\n",
        "pipelines:\n  a: {source: s,\n      model: new}\n",
    ),
    "lines of another system": (
        "pipelines:\r\n  a:\r\n    source: s\r\n    model: old\r\n    shadow:\r\n      model: new\r\n",
        "pipelines:\r\n  a:\r\n    source: s\r\n    model: new\r\n",
    ),
    "a key with a question mark": (
        "pipelines:\n  a:\n    model: old\n    ? shadow\n    : {model: new}\n",
        "pipelines:\n  a:\n    model: new\n",
    ),
    "two pipelines": (
        "pipelines:\n  ä: {source: s, model: old, shadow: {model: new}}\n  b: {model: old, shadow: {model: new}}\n",
        "pipelines:\n  ä: {source: s, model: new}\n  b: {model: new}\n",
    ),
    "another shadow stays": (
        "pipelines:\n  a: {model: old, shadow: {model: new}}\n  b: {model: old, shadow: {model: other}}\n",
        "pipelines:\n  a: {model: new}\n  b: {model: old, shadow: {model: other}}\n",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_the_shadow_and_the_model_change(name: str) -> None:
    before, after = EDITS[name]
    for mark in ("", "\ufeff"):
        edited, _ = promoted(FILE, f"{mark}{REST}{before}".encode(), "new")
        assert edited.decode() == f"{mark}{REST}{after}"


def test_one_pipeline_of_several() -> None:
    text = "pipelines:\n  a: {model: old, shadow: {model: new}}\n  b: {model: old, shadow: {model: new}}\n"
    edited, pipelines = promoted(FILE, text.encode(), "new", "b")
    assert edited.decode() == "pipelines:\n  a: {model: old, shadow: {model: new}}\n  b: {model: new}\n"
    assert pipelines == ("b",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pipelines: {a: {model: old}}\n", "no pipeline has shadow: {model: new}"),
        ("pipelines: {a: {model: &m old, shadow: {model: new}}, b: {model: *m}}\n", "anchors"),
        ("pipelines: {a: {model: old, shadow: &s {model: new}}, b: {model: old, shadow: *s}}\n", "anchors"),
        ("pipelines: {a: &a {model: old, shadow: {model: new}}, b: *a}\n", "anchors"),
        ("pipelines: [\n", "config.yaml:"),
    ],
)
def test_what_cannot_be_edited_is_told_and_how_to_go_on(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        promoted(FILE, text.encode(), "new")
