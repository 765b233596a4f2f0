"""A report as one HTML file without scripts: figures, tables, diagrams and pictures of the worst mistakes.

Everything in it is escaped, and its content policy lets a browser load nothing from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from edge_infer.evaluate import text
from edge_infer.evaluate.average_precision import OperatingPoint
from edge_infer.evaluate.mistake_picture import mistake_picture
from edge_infer.evaluate.run import Evaluation, EvaluationReport, counted
from edge_infer.evaluate.scores import Calibration, Mistake, MistakeKind
from edge_infer.plan.records import InputPlan
from edge_infer.platform.logs import printable

SIDE: Final = 240
"""Sides of a diagram in pixels."""
MAX_ROWS: Final = 200
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2526; --back: #fff; --line: #c8d0d0; --mark: #00796b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ecec; --back: #14191a; --line: #46504f; --mark: #4db6ac; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .15rem 1rem .15rem 0; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
.verdict { font-size: 1.15rem; border-left: 4px solid var(--mark); padding-left: .8rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { max-width: 100%; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.diagrams { display: flex; flex-wrap: wrap; gap: 2rem; }
svg { max-width: 100%; } svg text { font-size: 11px; fill: var(--ink); }
svg .axis { stroke: var(--ink); fill: none; } svg .even { stroke: var(--line); stroke-dasharray: 4; }
svg .bar { fill: var(--mark); opacity: .7; } svg .curve { stroke: var(--mark); fill: none; stroke-width: 2; }
"""


def page(report: EvaluationReport) -> str:
    """Return the whole file."""
    title = " and ".join(found.model.title for found in report.evaluations)
    return "\n".join([_head(f"Evaluation of {title}"), *_body(report), "</body>", "</html>", ""])


def _head(title: str) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{_safe(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_safe(title)}</h1>"
    )


def _body(report: EvaluationReport) -> Iterator[str]:
    yield f"<p>Labels: {_safe(report.data)}</p>"
    if report.compared is not None:
        yield f'<p class="verdict">{_safe(report.compared.sentence)}</p>'
        yield _table(text.side_by_side(report))
    if report.notes:
        yield f"<ul>{''.join(f'<li>{_safe(note)}</li>' for note in report.notes)}</ul>"
    for found in report.evaluations:
        yield from _model(found, report.noun)


def _model(found: Evaluation, noun: str) -> Iterator[str]:
    scores = found.scores
    yield f"<h2>{_safe(found.model.title)}</h2>"
    yield f"<p>{counted(found.examples, noun)}, threshold {found.model.threshold:g}, file {found.model.sha256[:8]}</p>"
    yield from (f"<p>{_safe(note)}</p>" for note in found.notes)
    yield _table(_figures(found))
    yield '<div class="diagrams">'
    if scores.curve:
        yield _curve(scores.curve)
    if scores.calibration is not None and scores.calibration.bins:
        yield _reliability(scores.calibration)
    yield "</div>"
    for title, rows in (
        ("Classes", text.classes(scores.classes)),
        ("Sizes", text.sizes(scores.sizes)),
        ("Confusions", text.confusion(scores.confusion)),
        ("Thresholds", text.thresholds(scores.granted)),
    ):
        if len(rows) > 1:
            yield f"<h3>{title}</h3>"
            yield _table(rows)
    pictures = isinstance(found.model.input, InputPlan)
    kinds: tuple[tuple[MistakeKind, str], ...] = (("missed", "Worst misses"), ("false_alarm", "Worst false alarms"))
    for kind, title in kinds:
        if mistakes := found.worst.of(kind):
            yield f"<h3>{title}</h3>"
            yield f'<div class="pictures">{"".join(_mistake(each, pictures=pictures) for each in mistakes)}</div>'


def _figures(found: Evaluation) -> list[list[str]]:
    rows = [["figure", "value", "95 % interval"]]
    for name, value in text.figures(found).items():
        rows.append([text.name_of(name), text.number(value), text.span(found.scores.intervals.get(name))])
    if found.latency is not None:
        rows.append(["latency", f"{1e3 * found.latency[0]:.1f} ms", f"95th percentile {1e3 * found.latency[1]:.1f} ms"])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = [[_safe(cell) for cell in row] for row in rows[: MAX_ROWS + 1]]
    head = "".join(f"<th>{cell}</th>" for cell in cells[0])
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in cells[1:])
    more = f"<p>and {len(rows) - len(cells)} more</p>" if len(rows) > len(cells) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>{more}"


def _mistake(mistake: Mistake, *, pictures: bool) -> str:
    said = [f"labelled {mistake.true}" if mistake.true else "", f"found {mistake.found}" if mistake.found else ""]
    said += [f"score {mistake.score:.3g}" if mistake.score is not None else ""]
    words = ", ".join(filter(None, said))
    jpeg = mistake_picture(mistake) if pictures else None
    image = ""
    if jpeg is not None:
        image = f'<img alt="{_safe(words)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
    return f"<figure>{image}<figcaption>{_safe(mistake.name)}: {_safe(words)}</figcaption></figure>"


def _curve(points: Sequence[OperatingPoint]) -> str:
    places = " ".join(f"{_x(point.recall):.1f},{_y(point.precision):.1f}" for point in points)
    return _diagram("Precision over recall", "recall", f'<polyline class="curve" points="{places}"/>')


def _reliability(found: Calibration) -> str:
    bars = "".join(
        f'<rect class="bar" x="{_x(each.low) + 1:.1f}" y="{_y(each.right):.1f}" width="{SIDE / 10 - 2:.1f}" '
        f'height="{SIDE * each.right:.1f}"><title>{each.count} items</title></rect>'
        for each in found.bins
    )
    even = f'<line class="even" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    return _diagram(f"Share of right items, expected error {text.number(found.error)}", "score", bars + even)


_EDGE: Final = 34


def _x(share: float) -> float:
    return _EDGE + SIDE * share


def _y(share: float) -> float:
    return 24 + SIDE * (1 - share)


def _diagram(title: str, below: str, content: str) -> str:
    """Return a diagram with both axes from 0 to 1."""
    axes = f'<path class="axis" d="M{_x(0)} {_y(1)} V{_y(0)} H{_x(1)}"/>'
    marks = "".join(
        f'<text x="{_x(share) - 8:.0f}" y="{_y(0) + 16}">{share:g}</text>'
        f'<text x="2" y="{_y(share) + 4:.0f}">{share:g}</text>'
        for share in (0, 0.5, 1)
    )
    return (
        f'<svg role="img" aria-label="{_safe(title)}" width="{SIDE + 60}" height="{SIDE + 64}">'
        f'<text x="{_EDGE}" y="14">{_safe(title)}</text>{content}{axes}{marks}'
        f'<text x="{_x(0.5) - 16:.0f}" y="{_y(0) + 34}">{_safe(below)}</text></svg>'
    )


def _safe(words: str) -> str:
    """Return a text that is no markup and has no control characters: names come from labels and models."""
    return escape(printable(words))
