"""A model becomes another package in the text of a file, and nothing else of it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_infer.config.edit import using
from edge_infer.errors import ConfigError

FILE = Path("config.yaml")
OLD, NEW = "0" * 64, "a1" * 32
REST = "sources: {s: {kind: synthetic}} # x\npipelines:\n  p: {source: s, model: m}\n"

EDITS = {
    "a block": (
        "models:\n  # of gate\n  m:\n    use: face@1.0.0   # as rolled out\n\n  n: {file: n.tflite}\n",
        "models:\n  # of gate\n  m:\n    use: face@1.1.0   # as rolled out\n\n  n: {file: n.tflite}\n",
    ),
    "brackets": ("models: {m: {labels: [a], use: 'face@1.0.0'}}\n", "models: {m: {labels: [a], use: face@1.1.0}}\n"),
    "a digest": (
        f"models:\n  m:\n    sha256: {OLD} # pinned\n    use: face@1.0.0\n",
        f"models:\n  m:\n    sha256: {NEW} # pinned\n    use: face@1.1.0\n",
    ),
    "a file": (
        f"models: {{ä: {{file: f}}, m: {{file: 'faces ä.tflite', sha256: {OLD}}}}}\n",
        f"models: {{ä: {{file: f}}, m: {{use: face@1.1.0, sha256: {NEW}}}}}\n",
    ),
    "lines of another system": ("models:\r\n  m:\r\n    file: f\r\n", "models:\r\n  m:\r\n    use: face@1.1.0\r\n"),
    "an alias elsewhere": (
        "models:\n  m: {use: face@1.0.0}\n  n: &n {file: f}\n  o: *n\n",
        "models:\n  m: {use: face@1.1.0}\n  n: &n {file: f}\n  o: *n\n",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_the_package_changes_and_once(name: str) -> None:
    before, after = EDITS[name]
    for mark in ("", "\ufeff"):
        edited, was = using(FILE, f"{mark}{before}{REST}".encode(), "m", "face@1.1.0", NEW)
        assert edited.decode() == f"{mark}{after}{REST}"
        assert was in ("use: face@1.0.0", "file: f", "file: faces ä.tflite")
        assert using(FILE, edited, "m", "face@1.1.0", NEW) == (edited, "use: face@1.1.0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: {n: {use: face@1.0.0}, o: {file: f}}\n", "config.yaml: it has no model m; there are n, o"),
        ("sources: {}\n", "config.yaml: it has no model m"),
        ("models: {m: {labels: [a]}}\n", "models.m has neither use nor file"),
        ("models: {m: {use: face@1.0.0, file: f}}\n", "set use: face@1.1.0 of model m with an editor"),
        (
            "models:\n  n: &n {use: face@1.0.0}\n  m: *n\n",
            ("config.yaml:3: this command cannot edit anchors (&) and aliases (*)"),
        ),
        (
            "models:\n  m:\n    use: >-\n      face@1.0.0\n    labels: [a]\n",
            ("this command cannot edit config.yaml as it is written"),
        ),
        ("models: [\n", "config.yaml:"),
        ("", "config.yaml"),
    ],
)
def test_what_cannot_be_edited_is_told_and_how_to_go_on(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        using(FILE, text.encode(), "m", "face@1.1.0", NEW)
