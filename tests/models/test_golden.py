"""What a golden input asks for and what is found are compared one to one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import Expectation, Golden
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.golden import GoldenFinding, compare, complaint
from edge_infer.models.trials.probe import Probe
from tests.running import MODEL

LEFT, RIGHT, BETWEEN = (0.0, 0.0, 0.4, 1.0), (0.2, 0.0, 0.6, 1.0), (0.1, 0.0, 0.5, 1.0)
FOUND = "box: [0.2812, 0.1771, 0.5643, 0.4602], iou: 0.8, score: 0.969"


def wanted(label: str = "face", **more: object) -> Expectation:
    return Expectation.model_validate({"label": label, **more})


def test_each_thing_stands_for_one_expectation() -> None:
    twice = [wanted(), wanted()]
    assert compare(twice, [GoldenFinding("face")]) == ([twice[1]], [])
    assert compare(twice, [GoldenFinding("face"), GoldenFinding("face"), GoldenFinding("cat")]) == (
        [],
        [GoldenFinding("cat")],
    )
    assert compare([], [GoldenFinding("cat")]) == ([], [GoldenFinding("cat")])


def test_what_fits_two_makes_room_for_what_fits_one() -> None:
    seen = [GoldenFinding("face", BETWEEN), GoldenFinding("face", LEFT)]
    both = [wanted(box=list(LEFT), iou=0.5), wanted(box=list(RIGHT), iou=0.5)]
    assert compare(both, seen) == ([], [])
    assert compare(both[::-1], seen) == ([], [])
    assert compare(both, seen[1:])[0] == both[1:]


@pytest.mark.parametrize(
    ("asked", "seen", "fits"),
    [
        (wanted(score=0.9), GoldenFinding("face", score=0.86), True),
        (wanted(score=0.9), GoldenFinding("face", score=0.84), False),
        (wanted(score=0.9, within=0.1), GoldenFinding("face", score=0.84), True),
        (wanted(score=0.9), GoldenFinding("face"), False),
        (wanted(score=0.9, box=list(LEFT)), GoldenFinding("face", RIGHT, 0.9), False),
        (wanted("normal", between=[0.0, 0.5]), GoldenFinding("normal", value=0.4), True),
        (wanted("normal", between=[0.0, 0.3]), GoldenFinding("normal", value=0.4), False),
    ],
)
def test_scores_boxes_and_values(asked: Expectation, seen: GoldenFinding, *, fits: bool) -> None:
    assert compare([asked], [seen]) == (([], []) if fits else ([asked], [seen]))


def test_a_list_with_scores_is_whole() -> None:
    """But what is hardly above the threshold may be above or below it, from runtime to runtime."""
    whole = Golden.model_validate({"input": "a.png", "expect": [{"label": "face", "score": 0.9}]})
    part = Golden.model_validate({"input": "a.png", "expect": [{"label": "face"}]})
    face, sure, unsure = (
        GoldenFinding("face", score=0.91),
        GoldenFinding("cat", score=0.6),
        GoldenFinding("cat", score=0.54),
    )
    assert complaint(whole, [face], 0.5) == complaint(whole, [face, unsure], 0.5) == ""
    assert "expected only the listed results in this golden input, but found cat with 0.600" in complaint(
        whole, [face, sure], 0.5
    )
    assert complaint(part, [face, sure], 0.5) == ""


def test_a_package_holds_what_it_says_and_no_more(tmp_path: Path) -> None:
    """The shipped model, by its own manifest and by others."""
    package = tmp_path / "faces"
    shutil.copytree(MODEL.parent, package)
    manifest = package / "manifest.yaml"
    head, _, golden = manifest.read_text().partition("    expect: ")
    assert FOUND in golden
    with Probe() as child:

        def refusal(expect: str) -> str:
            manifest.write_text(f"{head}    expect: {expect}\n")
            found = child.outcome(ModelRequest("m", str(package)))
            return str(found) if isinstance(found, ModelError) else ""

        assert refusal(f"[{{label: face, {FOUND}}}]") == ""
        assert "expected face with 0.8 (within 0.05) in this golden input" in refusal("[{label: face, score: 0.8}]")
        assert "but found face at [0.28, 0.18, 0.56, 0.46] with 0.9" in refusal("[{label: face, score: 0.8}]")
        twice = "expected face in this golden input, a result of its own for each entry, but found face at"
        assert twice in refusal("[{label: face}, {label: face}]")
        head = head.replace("labels: [face]", "labels: [head]")
        assert "expected nothing in this golden input" in refusal("[]")
        assert refusal("[{label: head}]") == ""
