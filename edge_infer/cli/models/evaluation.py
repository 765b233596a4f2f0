"""``edge-infer models add --evaluate``: the store accepts a package only after an evaluation on labelled data."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from edge_infer.cli.arguments import argument
from edge_infer.cli.as_owner import shut_in
from edge_infer.cli.evaluate import EvaluationProgress, add_images, options
from edge_infer.cli.output import say
from edge_infer.contract.codec import Record, at_most, decode_json, dumps, replace
from edge_infer.errors import ConfigError, EdgeInferError, ModelError, WireError
from edge_infer.plan.files import files_of
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.logs import printable
from edge_infer.readers.environment import bound_pictures
from edge_infer.sandbox.identity import Identity

if TYPE_CHECKING:
    from edge_infer.evaluate.data_place import DataPlace
    from edge_infer.models.packages.library import Library

log = logging.getLogger(__name__)

LONGEST_ANSWER: Final = 1 << 20
Condition = Callable[[ModelPlan], None]
"""Function that raises `ModelError` for a package that the store must not accept."""


class EvaluationAnswer(Record, frozen=True):
    """Answer of the process that evaluated the package: figures, comparison with another version, or an error.

    Code of the model may have forged this answer, like the results of the model.
    """

    figures: Annotated[dict[str, float | None], at_most(1000)] = {}  # noqa: RUF012 - a default of msgspec
    examples: int = 0
    sentence: Annotated[str, at_most(2000)] = ""
    verdict: Annotated[str, at_most(32)] = ""
    notes: Annotated[tuple[Annotated[str, at_most(2000)], ...], at_most(100)] = ()
    error: Annotated[str, at_most(4000)] = ""


def add(child: argparse.ArgumentParser) -> None:
    """Declare the options."""
    asked = "add the package only if it is correct on this labelled data, in a format of edge-infer evaluate"
    child.add_argument("--evaluate", metavar="LABELS", type=Path, help=asked)
    add_images(child)
    least = "least value of a figure, such as map50=0.6; default: no worse than the newest other version in the store"
    child.add_argument("--at-least", metavar="FIGURE=X", type=argument(_limit), action="append", default=[], help=least)
    most = "largest value of a figure of errors, such as mae=0.1"
    child.add_argument("--at-most", metavar="FIGURE=X", type=argument(_limit), action="append", default=[], help=most)


def condition(args: argparse.Namespace, library: Library, user: Identity | None) -> Condition | None:
    """Return the check of a package; None if the command requests none. Raises `ConfigError`."""
    if args.evaluate is None:
        for option in ("at_least", "at_most", "images", "rename"):
            if getattr(args, option):
                raise ConfigError(f"--{option.replace('_', '-')} belongs to --evaluate LABELS")
        return None
    from edge_infer.evaluate.data_place import DataPlace

    place = DataPlace.of(args.evaluate, args.images)
    return lambda plan: _check(args, user, place, [*_other_version(args, library, plan), plan])


def _other_version(args: argparse.Namespace, library: Library, plan: ModelPlan) -> list[ModelPlan]:
    """Return the plan of the version with which the package is compared, if there is one.

    Raises `ConfigError`, `ModelError`.
    """
    from edge_infer.models.packages.versions import older
    from edge_infer.models.request import ModelRequest
    from edge_infer.models.trials.probe import probe

    if args.at_least or args.at_most:
        return []
    name = plan.title.partition("@")[0]
    others = [each for each in library.find(name) if each.manifest is not None and each.title != plan.title]
    if not others:
        raise ConfigError(
            f"the store has no other version of {name} to compare with; set a limit, such as --at-least map50=0.6"
        )
    best = others[0]
    for each in others[1:]:
        if older(best.folder.name, each.folder.name):
            best = each
    return [probe(ModelRequest(name, str(best.folder)))]


def _check(args: argparse.Namespace, user: Identity | None, place: DataPlace, plans: Sequence[ModelPlan]) -> None:
    """Raise `ModelError` unless the last of the models is good enough."""
    from edge_infer.evaluate.data_place import check_task

    for plan in plans:
        check_task(plan)
    title = plans[-1].title
    found = _answer(lambda: _evaluate(args, user, place, plans), title)
    say([f"edge-infer: note: {note}" for note in found.notes], sys.stderr)
    if found.error:
        raise ModelError(f"{title} could not be evaluated: {found.error}")
    if len(plans) > 1:
        if found.verdict not in ("better", "unclear"):
            raise ModelError(f"{title} is rejected: {found.sentence}")
        say([f"edge-infer: {found.sentence}"], sys.stderr)
        return
    for figure, least in args.at_least:
        _check_figure(title, figure, (least, math.inf), found)
    for figure, most in args.at_most:
        _check_figure(title, figure, (-math.inf, most), found)


def _check_figure(title: str, figure: str, limits: tuple[float, float], found: EvaluationAnswer) -> None:
    (least, most), value = limits, found.figures.get(figure)
    if figure not in found.figures:
        raise ConfigError(f"there is no figure {figure}; the figures of {title} are {', '.join(found.figures)}")
    if value is None or not least <= value <= most:
        shown = "not known" if value is None else f"{value:.4g}"
        bound = f"below {least:g}" if math.isfinite(least) else f"above {most:g}"
        raise ModelError(f"{title} is rejected: {figure} is {shown} on {found.examples} examples, {bound}")
    say([f"edge-infer: {title}: {figure} is {value:.4g} on {found.examples} examples"], sys.stderr)


def _evaluate(
    args: argparse.Namespace, user: Identity | None, place: DataPlace, plans: Sequence[ModelPlan]
) -> EvaluationAnswer:
    """Lock this process in its sandbox, evaluate, and return the outcome."""
    fence = place.fence()
    files = tuple(path for plan in plans for path in files_of(plan))
    bound_pictures()
    shut_in(args, user, replace(fence, files=(*fence.files, *files)))
    from edge_infer.evaluate.facts import facts
    from edge_infer.evaluate.run import evaluate

    progress = EvaluationProgress()
    report = evaluate(place, plans, options(args), progress)
    progress.clear()
    whole = facts(report)
    compared: Mapping[str, str] = whole.get("comparison", {})
    figures = {name.replace(" ", "_"): value for name, value in report.evaluations[-1].scores.figures.items()}
    return EvaluationAnswer(
        figures,
        report.evaluations[-1].examples,
        compared.get("sentence", ""),
        compared.get("verdict", ""),
        tuple(note[:2000] for note in report.notes[:100]),
    )


def _answer(work: Callable[[], EvaluationAnswer], title: str) -> EvaluationAnswer:
    """Run the work, which runs the model, in a child process and return its answer.

    This process continues and writes into the store.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    process = os.fork()
    if process == 0:
        os.close(reading)
        _serve(work, writing)
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        data = stream.read(LONGEST_ANSWER + 1)
    _, status = os.waitpid(process, 0)
    try:
        return decode_json(EvaluationAnswer, data)
    except WireError as error:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"code {code}"
        raise ModelError(f"{title}: the process that evaluated it gave no answer and ended with {how}") from error


def _serve(work: Callable[[], EvaluationAnswer], writing: int) -> None:
    """Do the work in this process, send the answer, and end the process."""
    from edge_infer.models.trials.child_main import die_with_parent

    try:
        die_with_parent()
        try:
            answer = work()
        except EdgeInferError as error:
            answer = EvaluationAnswer(error=printable(str(error))[:4000])
        except Exception as error:
            log.exception("evaluation failed: unexpected exception")
            answer = EvaluationAnswer(error=printable(f"{type(error).__name__}: {error}")[:4000])
        with open(writing, "wb") as stream:
            stream.write(dumps(answer))
    finally:
        os._exit(0)


def _limit(text: str) -> tuple[str, float]:
    figure, _, value = text.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9_]+", figure) or not re.fullmatch(r"[0-9]*\.?[0-9]+", value):
        raise ValueError(f"{text} is not a figure and its limit, such as map50=0.6")
    return figure, float(value)
