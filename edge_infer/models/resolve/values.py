"""Meaning of a model's numbers: the values of a regression, the threshold, and the kind of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Decoder
from edge_infer.errors import ModelError
from edge_infer.models.inspect.advice import MAKES_SCORES
from edge_infer.models.packages.manifest import ValueSection
from edge_infer.models.packages.package import Package
from edge_infer.models.request import ModelRequest, Reason
from edge_infer.models.resolve.decoder_choice import Family
from edge_infer.models.tflite.graph import Graph, GraphTensor
from edge_infer.plan.records import ValuePlan

DEFAULT_THRESHOLD: Final = 0.5
THRESHOLDS: Final[Mapping[Task, float]] = {"pose": 0.3, "segmentation": 0.01}
"""Default thresholds for scores that are not probabilities: the mean of a body's keypoints, the share of a segment."""
_MOST: Final = 5
"""Maximum number of value names in a message."""


def choose_threshold(request: ModelRequest, package: Package, task: Task) -> tuple[float, str]:
    """Return the threshold and its source.

    For anomalies there is no default: a distance can be any number, and only the model's author knows the
    distance above which a frame is anomalous.
    """
    found, why = request.threshold, "asked for"
    if found is None:
        found, why = package.manifest.threshold, "manifest"
    if found is None and task == "anomaly":
        raise ModelError(
            "the distance from which a frame is anomalous is unknown: set threshold: in the manifest, a little above "
            "the distances of normal recordings (edge-infer infer MODEL RECORDING --threshold 0 shows them)",
            key="threshold",
        )
    if found is None:
        return THRESHOLDS.get(task, DEFAULT_THRESHOLD), "default"
    if found < 0 or (found > 1 and task != "anomaly"):
        text = f"{found:g} is not {'a distance of 0 or more' if task == 'anomaly' else 'between 0 and 1'}"
        told = package.fault("threshold", text) if why == "manifest" else f"threshold {text}"
        raise ModelError(told, key="threshold")
    return found, why


def choose_values(said: Sequence[ValueSection], decoder: Decoder) -> tuple[tuple[ValuePlan, ...], tuple[Reason, ...]]:
    """Return the values of a regression, with the reason; none for other tasks.

    Raises `ModelError` for a wrong number of values.
    """
    count: int = getattr(decoder, "values", 0) if decoder.task == "regression" else 0
    if said and not count:
        raise ModelError(f"values: are for models of task regression; this one is for {decoder.task}")
    if not count:
        return (), ()
    if not said:
        names = ["value"] if count == 1 else [f"value{number}" for number in range(1, count + 1)]
        plans = tuple(map(ValuePlan, names))
        return plans, (Reason("values", ", ".join(names[:_MOST]), "they have no names; add values: to the manifest"),)
    if len(said) != count:
        raise ModelError(f"the manifest names {len(said)} values; the model gives {count}")
    plans = tuple(ValuePlan(**dict(section)) for section in said)
    _check(plans)
    return plans, (Reason("values", ", ".join(_in_words(plan) for plan in plans[:_MOST]), "manifest"),)


def _check(plans: Sequence[ValuePlan]) -> None:
    for number, plan in enumerate(plans):
        if any(plan.name == other.name for other in plans[:number]):
            raise ModelError(f"the manifest names two values {plan.name}")
        if plan.min is not None and plan.max is not None and plan.min > plan.max:
            raise ModelError(f"the value {plan.name} has a min ({plan.min:g}) above its max ({plan.max:g})")


def _in_words(plan: ValuePlan) -> str:
    unit = f" in {plan.unit}" if plan.unit else ""
    low, high = ("…" if bound is None else f"{bound:g}" for bound in (plan.min, plan.max))
    return f"{plan.name}{unit}" + (f" of {low} to {high}" if (low, high) != ("…", "…") else "")


def with_activation(
    family: Family, graph: Graph, outputs: tuple[GraphTensor, ...]
) -> tuple[Family, tuple[Reason, ...]]:
    """Set ``activation: none`` for a classifier that already computes scores in its last operator."""
    if family.name != "classification" or "activation" in family.options or len(outputs) != 1:
        return family, ()
    maker = graph.made_by(outputs[0])
    if maker is None or maker.name not in MAKES_SCORES - {"LOG_SOFTMAX"}:
        return family, ()
    options = {**family.options, "activation": "none"}
    return replace(family, options=options), (Reason("scores", "unchanged", f"its last operator is {maker.name}"),)
