"""The keys of a delegate, a library that runs a model's graph on an accelerator."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from edge_infer.config.fields import Kind, choice, number, text
from edge_infer.config.named import NamedFiles
from edge_infer.config.plan import DelegatePlan, OnFailure
from edge_infer.config.section import Section
from edge_infer.config.sentences import ProblemAtError, wrong

MOST_OPTIONS: Final = 64


def _options(value: Any) -> tuple[tuple[str, str], ...]:
    """Return option names and values as text, the form that the library takes."""
    if not isinstance(value, dict) or len(value) > MOST_OPTIONS:
        raise ValueError(wrong(f"at most {MOST_OPTIONS} names with values such as {{device: usb}}", value))
    name, content, found = text("a name", most=128), text("a value", most=1024), []
    for key, item in value.items():
        try:
            told = str(item).lower() if isinstance(item, bool) else content.parse(item)
            found.append((name.parse(key), told))
        except ValueError as error:
            raise ProblemAtError((key,), str(error)) from error
    return tuple(found)


OPTIONS: Final = Kind(
    _options, {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}, dict
)


class Delegate(Section):
    """A library that runs the model's graph, or most of it."""

    library: Annotated[str, text("the path or the name of a library", most=4096), Field(examples=["libedgetpu.so.1"])]
    """A file, or a name that the system looks up in its library folders."""
    options: Annotated[tuple[tuple[str, str], ...], OPTIONS, Field(examples=[{"device": "usb"}])] = ()
    """Options for the library: names and values from its documentation."""
    min_delegated: Annotated[float, number(0, 1)] = 0.9
    """The least share of the model's operators that has to run there; less counts as a failure (`on_failure`)."""
    on_failure: Annotated[OnFailure, choice("refuse", "cpu")] = "refuse"
    """Action when the library fails or takes too few operators: `refuse` the model, or `cpu`: run it on the processor
    and report that."""


def delegate_plan(section: Delegate | None, files: NamedFiles) -> DelegatePlan | None:
    """Return the plan, with an absolute path if a path is given; None without a section.

    The file's existence is not checked here: the trial of the delegate shows whether the library loads, and
    `on_failure` may allow that it does not.
    """
    if section is None:
        return None
    library = files.absolute(section.library) if "/" in section.library else section.library
    return DelegatePlan(library, section.options, section.min_delegated, section.on_failure)
