"""Tallies of anomalies and values, the worst mistakes, and the choice of golden examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.errors import InputError
from edge_infer.evaluate.class_tally import AnomalyTally
from edge_infer.evaluate.golden_examples import GoldenChoice, GoldenExample, write_golden
from edge_infer.evaluate.resume_file import ExampleOutcome, Looked, ResumeFile
from edge_infer.evaluate.scores import Mistake, Wish, WorstMistakes
from edge_infer.evaluate.value_tally import ValueTally
from edge_infer.yamlfile.load import load_yaml


def test_the_area_under_the_curve_of_an_anomaly_detector() -> None:
    """Of six pairs of a normal and an anomalous input, four are in order and one is equal."""
    tally = AnomalyTally()
    for name, distance in (("good", 1.0), ("normal", 3.0), ("scratch", 2.0), ("hole", 3.0), ("dent", float("nan"))):
        tally.add(name, distance)
    scores = tally.scores(2.5, [Wish("recall", 1.0)])
    assert scores.figures == {
        "auc": pytest.approx((1 + 1 + 1 + 0 + 0.5 + 1) / 6),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
    }
    assert [(each.label, each.count, each.found) for each in scores.classes] == [("normal", 2, 2), ("anomalous", 3, 3)]
    point = scores.granted[-1].point
    assert point is not None
    assert (point.threshold, point.precision, point.recall) == (2.0, 0.75, 1.0)


def test_errors_of_values_and_implausible_ones() -> None:
    tally = ValueTally(["level", "heat"])
    for errors in ((1.0, -2.0), (-3.0, None), (2.0, 0.0)):
        tally.add(errors)
    figures = tally.scores(0.5, ()).figures
    assert figures["mae"] == pytest.approx(8 / 5)
    assert figures["level bias"] == pytest.approx(0.0)
    assert figures["heat rmse"] == pytest.approx((4 / 2) ** 0.5)
    assert figures["implausible"] == 1


def test_the_worst_mistakes_remain() -> None:
    worst = WorstMistakes(kept=2)
    for badness, name in ((0.2, "a"), (0.9, "b"), (0.5, "c"), (0.5, "d")):
        worst.offer(badness, Mistake("missed", name, "", "cat", "", None))
    assert [each.name for each in worst.of("missed")] == ["b", "c"]
    assert worst.of("false_alarm") == []


def test_golden_examples_are_of_all_kinds_and_clear() -> None:
    choice = GoldenChoice(3)
    for margin, name, labels in (
        (0.3, "1", ("cat",)), (0.4, "2", ("cat",)), (0.05, "3", ("dog",)), (0.2, "4", ()), (0.35, "5", ("cat",)),
    ):  # fmt: skip
        choice.offer(margin, GoldenExample(name, tuple((label, None) for label in labels)))
    choice.offer(0.2, GoldenExample("6", (("bird", None),)))
    assert [each.path for each in choice.chosen()] == ["6", "2", "5"], "none without findings while there are others"


def test_entries_of_golden_examples_hold_any_name(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s "odd": #1.JPG'
    odd.write_bytes(b"picture")
    examples = [GoldenExample(str(odd), (('no: "x"', (0.1, 0.2, 0.3, 0.4)),)), GoldenExample(str(odd), ())]
    path = write_golden(tmp_path, examples)
    from edge_infer.models.packages.manifest import Manifest

    manifest, problems = load_yaml(path, Manifest)
    assert problems == ()
    assert manifest is not None
    first, second = manifest.golden
    assert (first.input, first.expect[0].label, first.expect[0].box) == (
        "golden/it-s--odd----1.jpg", 'no: "x"', (0.1, 0.2, 0.3, 0.4),
    )  # fmt: skip
    assert (second.input, second.expect) == ("golden/it-s--odd----1-2.jpg", [])
    assert (tmp_path / second.input).read_bytes() == b"picture"


def outcome(number: int) -> ExampleOutcome:
    return ExampleOutcome(number, f"{number}.jpg", (4, 3), (Looked(0.1, items=((0, 0.5, 1.0, 1.0, 2.0, 2.0),)),))


def keep(path: Path, question: str, count: int) -> list[ExampleOutcome]:
    with ResumeFile(path, question) as file:
        earlier = list(file.earlier())
        for number in range(len(earlier), count):
            file.add(outcome(number))
    return earlier


@pytest.mark.parametrize("cut", [0, 5, 200, 10_000])
def test_outcomes_are_read_again_wherever_the_file_ends(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "kept"
    path.touch()
    assert keep(path, "question", 100) == []
    path.write_bytes(path.read_bytes()[:cut])
    earlier = keep(path, "question", 100)
    assert earlier == [outcome(number) for number in range(len(earlier))]
    assert (len(earlier) > 10) == (cut == 10_000)
    assert keep(path, "question", 100) == [outcome(number) for number in range(100)]


def test_a_damaged_outcome_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.touch()
    keep(path, "question", 3)
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":"'))
    with pytest.raises(InputError, match=r"kept:3: damaged: "):
        keep(path, "question", 3)
    with pytest.raises(InputError, match="it belongs to another model"):
        keep(path, "other", 3)
