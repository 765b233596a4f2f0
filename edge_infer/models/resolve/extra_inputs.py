"""Decisions about the further inputs of a model, from ``inputs`` in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.model.input_tensors import several_inputs, stored
from edge_infer.engine.preprocess.shape import image_shape
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import FurtherSection, InputSection, merged
from edge_infer.models.request import Reason
from edge_infer.models.resolve.decoder_choice import Family
from edge_infer.models.resolve.input_shape import KEYS, WORDS
from edge_infer.models.resolve.picture_input import Feeding, choose_feeding
from edge_infer.models.resolve.signal_input import choose_signal
from edge_infer.models.tflite.metadata import Metadata
from edge_infer.plan.records import FurtherInput, Gives, InputPlan, ModelInput, SignalPlan

ONE_SIGNAL: Final = frozenset({"rate", "stride", "scale", "filter"})
"""Keys that describe the signal itself. Further inputs cannot have these keys, because there is only one signal."""
_SHOWN: Final = 4


def apart(said: Mapping[str, FurtherSection], inputs: Sequence[Tensor], kind: Gives) -> tuple[Tensor, ...]:
    """Return the tensors that the manifest's ``inputs`` does not name: one, or several for text; else `ModelError`."""
    names = [tensor.name for tensor in inputs]
    unknown = next((name for name in said if name not in names), None)
    if unknown is not None:
        raise ModelError(f"inputs: {unknown}: is not one of its inputs, {', '.join(names)}")
    left = tuple(tensor for tensor in inputs if tensor.name not in said)
    if not left:
        raise ModelError(f"`inputs` names all of its inputs; remove the one that `input` describes: {', '.join(names)}")
    if len(left) > 1 and kind != "text":
        raise ModelError(several_inputs(left if said else inputs))
    return left


class FurtherInputs:
    """Decides the plan of each further input.

    ``main`` is the decision about the main input, made from ``said_of_main``.
    """

    def __init__(
        self, main: Feeding, said_of_main: InputSection, main_tensor: Tensor, metadata: Metadata, family: Family
    ) -> None:
        self._main = main.plan
        self._said_of_main = said_of_main
        self._main_tensor = main_tensor
        self._metadata = metadata
        self._family = family

    def choose(
        self, said: Mapping[str, FurtherSection], tensors: Sequence[Tensor]
    ) -> tuple[ModelInput, tuple[FurtherInput, ...], tuple[Reason, ...]]:
        """Return the plan of the main input, adapted to the further inputs; the plans of these; and the reasons."""
        found = [(self._one(said[tensor.name], tensor), tensor) for tensor in tensors if tensor.name in said]
        plans = _same_width([self._main, *(each.plan for each, _ in found if each.plan is not None)])
        self._check_windows(plans[1:], [tensor for each, tensor in found if each.plan is not None])
        rest = iter(plans[1:])
        further = tuple(each if each.plan is None else replace(each, plan=next(rest)) for each, _ in found)
        return plans[0], further, tuple(_reason(each) for each in further)

    def _one(self, said: FurtherSection, tensor: Tensor) -> FurtherInput:
        self._check_keys(said, tensor.name)
        if said.value is not None:
            stored(said.value, tensor)
            return FurtherInput(tensor.name, said.value)
        plan: ModelInput
        if isinstance(self._main, InputPlan):
            plan = choose_feeding(self._colored(said, tensor), self._metadata, tensor, self._family).plan
        elif isinstance(self._main, SignalPlan):
            plan = choose_signal(merged(self._said_of_main, said), self._metadata, tensor, remembers=False).plan
        else:
            raise ModelError(f"inputs: {tensor.name}: only one input takes text; set a `value` for this one")
        return FurtherInput(tensor.name, plan=plan)

    def _check_keys(self, said: FurtherSection, name: str) -> None:
        given = said.model_fields_set - {"value"}
        if said.value is not None and given:
            raise ModelError(f"inputs: {name}: has a `value`, which is always the same, so no `{min(given)}`")
        right = KEYS[self._main.takes] - ONE_SIGNAL if self._main.takes == "samples" else KEYS[self._main.takes]
        for key in sorted(given - right):
            once = key in ONE_SIGNAL and self._main.takes == "samples"
            why = (
                "belongs in `input`, which applies to all inputs"
                if once
                else f"is not for models of {WORDS[self._main.takes]}"
            )
            raise ModelError(f"inputs: {name}: {key}: {why}")

    def _colored(self, said: FurtherSection, tensor: Tensor) -> InputSection:
        """Return the merged settings of a picture input.

        The colour order of the main input is dropped if the channels differ.
        """
        section = merged(self._said_of_main, said)
        gray = len(tensor.shape) == 4 and image_shape(tensor)[2] == 1
        if said.color is None and section.color is not None and gray != (section.color == "gray"):
            return section.model_copy(update={"color": "gray" if gray else None})
        return section

    def _check_windows(self, plans: Sequence[ModelInput], tensors: Sequence[Tensor]) -> None:
        """Check that all signal inputs use windows of the same samples; raises `ModelError`."""
        if not isinstance(self._main, SignalPlan):
            return
        wanted = SignalPreprocess(self._main, self._main_tensor).need
        for plan, tensor in zip(plans, tensors, strict=True):
            if not isinstance(plan, SignalPlan):
                continue
            need = SignalPreprocess(plan, tensor).need
            if need != wanted or (plan.features == "micro") != (self._main.features == "micro"):
                raise ModelError(
                    f"inputs: {tensor.name}: takes windows of {need} samples of {plan.features}, and the main input "
                    f"those of {wanted} of {self._main.features}; all inputs share one window"
                )


def _same_width(plans: Sequence[ModelInput]) -> list[ModelInput]:
    """Return the plans of signals with a common sample width: as many values as the ``columns`` of all inputs need."""
    signals = [plan for plan in plans if isinstance(plan, SignalPlan)]
    width = max((1 + column for plan in signals for column in plan.columns), default=0)
    if width and not all(plan.columns for plan in signals):
        raise ModelError("`columns` selects the values of a sample for an input; set it for all inputs, or for none")
    return [replace(plan, width=width) if isinstance(plan, SignalPlan) else plan for plan in plans]


def _reason(further: FurtherInput) -> Reason:
    name = f"input {further.name}"
    if further.plan is None:
        numbers = ", ".join(f"{value:g}" for value in further.values[:_SHOWN])
        return Reason(name, f"always {numbers}{', …' if len(further.values) > _SHOWN else ''}", "manifest")
    if isinstance(further.plan, InputPlan):
        return Reason(name, f"the picture, {further.plan.color}, {further.plan.resize}", "manifest")
    if isinstance(further.plan, SignalPlan) and further.plan.columns:
        return Reason(name, f"{further.plan.features}, columns {', '.join(map(str, further.plan.columns))}", "manifest")
    return Reason(name, "the same window", "manifest")
