"""Keys of the governor: when it lowers frame rates to protect the board, and in which order of pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from edge_infer.config.schema.keys import planned, values_of, with_keys_of
from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.config.schema.scene import on_or_off
from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.plan.records import GovernorPlan, PipelinePlan
from edge_infer.platform.board import hottest
from edge_infer.yamlfile.error_text import ProblemAtError, suggestion, wrong
from edge_infer.yamlfile.fields import NAME, Kind, Name
from edge_infer.yamlfile.scalars import Written, shown
from edge_infer.yamlfile.section import Section, Short


def _shed(value: Any) -> tuple[str, ...]:
    """Return the names of pipelines without repetitions."""
    if value == []:
        raise ValueError("names no pipeline, so the governor could slow none; remove this key to allow all")
    if not isinstance(value, list):
        raise ValueError(wrong("a list of pipelines such as [yard-faces, door-faces]", value))  # noqa: TRY004
    names: list[str] = []
    for index, each in enumerate(value):
        try:
            name = NAME.parse(each)
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
        if name in names:
            raise ProblemAtError((index,), f"{shown(name)} is already in this list; remove one of the two")
        names.append(name)
    return tuple(names)


SHED_JSON: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": f"^(?:{NAME_PATTERN})$"},
    "minItems": 1,
    "uniqueItems": True,
}


@with_keys_of(GovernorPlan)
class Governor(Section):
    """When to lower frame rates, so that the firmware need not slow everything down."""

    shed: Annotated[tuple[Name, ...] | None, Kind(_shed, SHED_JSON), Field(examples=[["yard-faces"]])] = None
    """Pipelines that are slowed down, in this order; others keep their rate. Without it all of them: those of the
    lowest `priority` first, and of these the last of the file."""


def _governor(value: Any) -> Any:
    return None if value is None else on_or_off(value, ", ".join(Governor.model_fields))


GOVERNOR: Final = Short(_governor, {"type": ["boolean", "null"]})


def governor_plan(section: Governor | None, pipelines: Mapping[str, Pipeline]) -> GovernorPlan | None:
    """Return the plan with all pipelines that may be slowed down; None without a governor.

    ``pipelines`` are in the order of the file.
    """
    if section is None:
        return None
    names = list(pipelines)
    least_first = sorted(
        names, key=lambda name: (values_of(PipelinePlan, pipelines[name])["priority"], -names.index(name))
    )
    shed = tuple(least_first) if section.shed is None else section.shed
    return planned(GovernorPlan, section, shed=shed)


def unknown_pipelines(governor: Any, pipelines: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the position of each unknown name in ``shed``, with a sentence. The section may have any faults."""
    shed = governor.get("shed") if isinstance(governor, dict) else None
    names = [(each.text if isinstance(each, Written) else each) for each in (shed if isinstance(shed, list) else ())]
    return [
        (("governor", "shed", index), f"there is no {shown(name)} under pipelines; {suggestion(name, pipelines)}")
        for index, name in enumerate(names)
        if isinstance(name, str) and name not in pipelines
    ]


def unseen(section: Governor | None, root: Path = Path("/")) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the position of each governor key for a sensor that this board lacks, with a sentence.

    This is not an error of the file.
    """
    if section is None or hottest(root) is not None:
        return []
    others = (
        "throttling and the load"
        if values_of(GovernorPlan, section)["max_load"] is not None
        else "throttling (max_load is not given)"
    )
    where = ("governor", "max_temperature") if "max_temperature" in section.model_fields_set else ("governor",)
    text = "this board reports no temperature: no zone in /sys/class/thermal can be read; the governor uses only"
    return [(where, f"{text} {others}")]
