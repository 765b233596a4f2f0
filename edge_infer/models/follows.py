"""Comparison of a plan's inputs with the manifest's ``input`` and ``inputs``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from edge_infer.config.plan import FurtherInput, InputPlan, ModelInput, ModelPlan, SignalPlan
from edge_infer.models.manifest import InputSection, Manifest, merged

_ABSENT: Final = object()


def follows(plan: ModelPlan, manifest: Manifest) -> bool:
    """Return whether every value that the manifest gives for an input is the plan's, and the others are usable."""
    return (
        _fits(plan.input, manifest.input)
        and sorted(each.name for each in plan.further) == sorted(manifest.inputs)
        and all(_is_as_given(each, manifest) for each in plan.further)
        and all(_has_size(name, shape, manifest) for name, shape in plan.shapes)
    )


def _is_as_given(further: FurtherInput, manifest: Manifest) -> bool:
    said = manifest.inputs[further.name]
    if said.value is not None:
        return (further.values, further.plan) == (said.value, None)
    if further.plan is None or further.values:
        return False
    section = merged(manifest.input, said)
    if said.color is None:  # a gray input does not inherit `color` from a main input in colour
        section = section.model_copy(update={"color": None})
    return _fits(further.plan, section)


def _has_size(name: str, shape: tuple[int, ...], manifest: Manifest) -> bool:
    """Return whether an input whose size the file leaves open has the manifest's size."""
    said = manifest.inputs.get(name, manifest.input)
    section = said if said.model_fields_set & {"size", "length"} else manifest.input
    sizes = ((section.size[1], section.size[0]) in (shape[1:3], shape[2:4])) if section.size else True
    return sizes and (section.length is None or section.length in shape)


def _fits(plan: ModelInput, said: InputSection) -> bool:
    return all(_comparisons(plan, said)) and _usable(plan)


def _comparisons(plan: ModelInput, said: InputSection) -> Iterator[bool]:
    """Yield for each value that the manifest gives whether it is the plan's."""
    given: dict[str, Any] = {key: value for key in said.model_fields_set if (value := getattr(said, key)) is not None}
    given.pop("size", None)  # of the tensor: see `_has`
    given.pop("vocabulary", None)  # compared with the file's digest
    if isinstance(plan, InputPlan) and ("mean" in given or "std" in given):
        yield (plan.mean, plan.std) == (given.pop("mean", (0.0,)), given.pop("std", (1.0,)))
    if isinstance(plan, SignalPlan):
        given.pop("length", None)
        scale = given.pop("scale", None)
        yield scale is None or (plan.peak if scale == "peak" else not plan.peak and plan.scale == scale)
    for key, value in given.items():
        yield getattr(plan, key, _ABSENT) == value


def _usable(plan: ModelInput) -> bool:
    """Return whether mean and divisors are as a manifest may give them."""
    if not isinstance(plan, (InputPlan, SignalPlan)):
        return True
    return all(map(math.isfinite, (*(plan.mean or ()), *(plan.std or ())))) and all(each > 0 for each in plan.std or ())
