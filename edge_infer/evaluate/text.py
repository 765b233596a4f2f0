"""A report as lines of text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from edge_infer.evaluate.bootstrap import Interval
from edge_infer.evaluate.class_tally import TOP
from edge_infer.evaluate.run import Evaluation, EvaluationReport, counted
from edge_infer.evaluate.scores import Calibration, ClassScore, Confused, Granted, SizeScore

MAX_ROWS: Final = 20
"""Maximum number of rows of a table in the terminal; ``--json`` and the page have all rows."""
BAR: Final = 20

NAMES: Final = {
    "map50_95": "mAP 50-95",
    "map50": "mAP 50",
    "map75": "mAP 75",
    "accuracy": "accuracy",
    "balanced_accuracy": "mean accuracy of the classes",
    "top5": "true class among the best 5",
    "precision": "precision",
    "recall": "recall",
    "auc": "area under the ROC curve",
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "bias": "mean error",
    "implausible": "implausible values",
}
"""Names of figures for people."""


def lines(report: EvaluationReport) -> Iterator[str]:
    """Yield the report line by line; the verdict on two models is at the end."""
    for place, found in enumerate(report.evaluations):
        if place:
            yield ""
        yield from _model(found, report)
    if report.compared is not None:
        yield ""
        yield "side by side"
        yield from table(side_by_side(report))
    for note in report.notes:
        yield f"note: {note}"
    if report.compared is not None:
        yield ""
        yield report.compared.sentence


def name_of(figure: str) -> str:
    """Return the name of a figure for people; of one value of a regression it begins with the value's name."""
    value, _, own = figure.rpartition(" ")
    return f"{value} {NAMES.get(own, own)}".strip()


def figures(found: Evaluation) -> dict[str, float | None]:
    """Return the figures for people; without ``top5`` for five classes or less, which are always among the best 5."""
    always = len(found.model.labels) <= TOP
    return {name: value for name, value in found.scores.figures.items() if name != "top5" or not always}


def _model(found: Evaluation, report: EvaluationReport) -> Iterator[str]:
    plan, scores, shown = found.model, found.scores, figures(found)
    yield f"{plan.title}: {counted(found.examples, report.noun)}, threshold {plan.threshold:g}"
    yield ""
    width = max(map(len, map(name_of, shown)))
    for name, value in shown.items():
        between = span(scores.intervals.get(name))
        more = f"   (95 %: {between})" if between else ""
        yield f"  {name_of(name):<{width}}  {number(value):>8}{more}"
    if found.latency is not None:
        took = f"median {1e3 * found.latency[0]:.1f} ms, 95th percentile {1e3 * found.latency[1]:.1f} ms"
        yield f"  {'latency':<{width}}  {took}"
    for title, rows in (
        ("classes", classes(scores.classes)),
        ("sizes", sizes(scores.sizes)),
        ("most frequent confusions", confusion(scores.confusion)),
        ("thresholds", thresholds(scores.granted)),
        (_calibrated(scores.calibration), reliability(scores.calibration)),
    ):
        if len(rows) > 1:
            yield ""
            yield f"  {title}"
            yield from table(rows)
    for note in found.notes:
        yield f"note: {note}"


def side_by_side(report: EvaluationReport) -> list[list[str]]:
    """Return the rows of a table with the figures of two models and their differences, with a header."""
    assert report.compared is not None
    first, second = report.evaluations
    rows = [["", *report.titles, "difference", "95 % interval"]]
    for name, value in figures(first).items():
        other, found = second.scores.figures.get(name), report.compared.differences.get(name)
        apart = "-" if value is None or other is None else f"{other - value:+.3f}"
        between = f"{found.interval.low:+.3f} to {found.interval.high:+.3f}" if found and found.known else ""
        rows.append([name_of(name), number(value), number(other), apart, between])
    latency = [f"{1e3 * each.latency[0]:.1f} ms" if each.latency else "-" for each in report.evaluations]
    return [*rows, ["latency", *latency, "", ""]]


def span(between: Interval | None) -> str:
    """Return an interval in words; empty if there is none."""
    return f"{between.low:.3f} to {between.high:.3f}" if between and math.isfinite(between.low) else ""


def number(value: float | None) -> str:
    """Return a figure with three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def classes(scores: Sequence[ClassScore]) -> list[list[str]]:
    """Return the rows of a table of classes, most frequent first, with a header."""
    boxes = any(each.ap50 is not None for each in scores)
    header = ["", "labelled", "found", "precision", "recall", *(["AP 50", "AP 50-95"] if boxes else [])]
    rows = [
        [each.label, str(each.count), str(each.found), number(each.precision), number(each.recall)]
        + ([number(each.ap50), number(each.ap50_95)] if boxes else [])
        for each in sorted(scores, key=lambda each: (-each.count, each.label))
    ]
    return [header, *rows]


def sizes(scores: Sequence[SizeScore]) -> list[list[str]]:
    """Return the rows of a table of sizes with a header, without sizes that have no boxes."""
    rows = [
        [_SIZES[each.size], str(each.count), number(each.precision), number(each.recall), number(each.map50_95)]
        for each in scores
        if each.count
    ]
    return [["", "labelled", "precision", "recall", "mAP 50-95"], *rows]


_SIZES: Final = {"small": "below 32x32 pixels", "medium": "up to 96x96", "large": "above 96x96"}


def confusion(found: Sequence[Confused]) -> list[list[str]]:
    """Return the rows of the confusions, without the right answers, most frequent first, with a header."""
    wrong = [each for each in found if each.true != each.found]
    return [["labelled", "found as", "times"], *([each.true, each.found, str(each.count)] for each in wrong)]


def thresholds(granted: Sequence[Granted]) -> list[list[str]]:
    """Return the rows of the thresholds with a header."""
    rows = []
    for each in granted:
        wish = "highest F1" if each.least is None else f"{each.kind} {each.least:g}"
        wish += f" of {each.label}" if each.label else ""
        point = each.point
        values = ["none", "-", "-"] if point is None else [
            f"{math.floor(point.threshold * 1000) / 1000:.3f}", number(point.precision), number(point.recall)
        ]  # fmt: skip
        rows.append([wish, *values])
    return [["for", "threshold", "precision", "recall"], *rows]


def reliability(found: Calibration | None) -> list[list[str]]:
    """Return the rows of a reliability diagram with a header."""
    header = ["scores", "items", "mean score", "right", ""]
    if found is None:
        return [header]
    rows = [
        [f"{each.low:.1f} to {each.high:.1f}", str(each.count), number(each.score), number(each.right),
         "#" * round(BAR * each.right)]
        for each in found.bins
    ]  # fmt: skip
    return [header, *rows]


def _calibrated(found: Calibration | None) -> str:
    return f"calibration: expected error {number(found.error if found else None)}"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table as aligned lines; a long table is cut."""
    shown = rows[: MAX_ROWS + 1]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(rows) > len(shown):
        yield f"    and {len(rows) - len(shown)} more (--json has all)"
