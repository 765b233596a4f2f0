"""Warnings for the operator about a model, before it runs on a small board."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Final

from edge_infer.models.request import Resolution
from edge_infer.models.tflite.graph import Graph, GraphTensor

FLOATS: Final = frozenset({"float32", "float16", "bfloat16"})
INDICES: Final = frozenset({"int32", "int64"})
"""Element types of constants that are axes, shapes or indices and not weights. Biases are excluded by their one
dimension."""
MAKES_SCORES: Final = frozenset({"SOFTMAX", "LOGISTIC", "LOG_SOFTMAX"})


def weights_in_words(graph: Graph) -> str:
    """Return a description of how the weights are stored, which determines speed and size."""
    kind, tensors = _main_kind(graph)
    if kind is None:
        return "none"
    if kind in FLOATS:
        return kind
    scales = "one scale a channel" if any(tensor.per_channel for tensor in tensors) else "one scale a tensor"
    return f"{kind}, {scales}{_form(graph)}"


def advice(graph: Graph, resolution: Resolution | None) -> tuple[str, ...]:
    """Return warnings, the most important first; ``resolution`` is None for a model that cannot be used."""
    found = [*_speed(graph), *_inputs(graph), *_state(graph)]
    if resolution is not None:
        found += [*_scores(graph, resolution), *resolution.notes]
    return tuple(found)


def _main_kind(graph: Graph) -> tuple[str | None, list[GraphTensor]]:
    """Return the element type of most weights, and the tensors of that type; None without weights."""
    weights = [tensor for tensor in graph.weights() if tensor.dtype not in INDICES]
    sizes: Counter[str] = Counter()
    for tensor in weights:
        sizes[tensor.dtype] += prod(tensor.shape)
    kind = sizes.most_common(1)[0][0] if sizes else None
    return kind, [tensor for tensor in weights if tensor.dtype == kind]


def _form(graph: Graph) -> str:
    """Return a description of the floats that a quantized model still uses; empty if it takes no floats."""
    if not any(tensor.dtype in FLOATS for tensor in graph.inputs):
        return ""
    if any(operator.name == "QUANTIZE" for operator in graph.operators):
        return "; floats go in and are quantized inside"
    return "; computed with floats (dynamic range)"


def _speed(graph: Graph) -> list[str]:
    kind, tensors = _main_kind(graph)
    if kind is None:
        return []
    if kind in FLOATS:
        return [f"a {kind} model: int8 quantization would make it smaller, and several times faster on small boards"]
    if "dynamic range" in _form(graph):
        return ["only its weights are quantized: with full integer quantization it would be faster on small boards"]
    if kind == "uint8" and not any(tensor.per_channel for tensor in tensors):
        return ["uint8 with one scale a tensor: the same network in int8 with one a channel ran 2.2 times as fast"]
    return []


def _inputs(graph: Graph) -> list[str]:
    return [
        f"input {tensor.name} is {tensor.dtype} without quantization parameters, so it takes brightness as it is"
        for tensor in graph.inputs
        if tensor.dtype in ("uint8", "int8") and not any(tensor.scale)
    ]


def _state(graph: Graph) -> list[str]:
    if graph.remembers():
        return ["it keeps state from one run to the next"]
    return []


def _scores(graph: Graph, resolution: Resolution) -> list[str]:
    if resolution.plan.task != "classification" or "activation" in resolution.plan.decoder.options:
        return []
    maker = graph.made_by(graph.chosen(resolution.plan.outputs)[0])
    if maker is None or maker.name in MAKES_SCORES:
        return []
    remedy = "decoder: {kind: classification, activation: softmax} (or sigmoid, or none)"
    return [f"its last operator is {maker.name}, so its outputs may not be scores; a manifest can set {remedy}"]
