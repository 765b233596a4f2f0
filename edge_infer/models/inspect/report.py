"""The report of ``edge-infer inspect`` about a model file, which need not be usable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.errors import ModelError, StartError
from edge_infer.models.inspect.advice import advice, weights_in_words
from edge_infer.models.request import ModelRequest, Resolution, TensorFacts
from edge_infer.models.resolve.resolve import OpenedModel, open_model
from edge_infer.models.tflite.graph import GraphTensor
from edge_infer.models.tflite.metadata import Metadata
from edge_infer.models.trials.probe import examine_safely

LONG: Final = 400


@dataclass(frozen=True, slots=True)
class Report:
    """Facts about a model file. If it is unusable, ``resolution`` is None and ``error`` is the reason."""

    file: str
    manifest: str | None
    bytes: int
    sha256: str
    title: str
    description: str
    weights: str
    subgraphs: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: Mapping[str, int]
    custom_operators: tuple[str, ...]
    metadata: Mapping[str, str]
    labels: tuple[str, ...]
    resolution: Resolution | None
    error: str
    warnings: tuple[str, ...]


def report(request: ModelRequest) -> Report:
    """Read the file here and try it in a child process; raises `ModelError` only if it cannot be read at all."""
    opened = open_model(request)
    resolution, error = None, ""
    try:
        resolution = examine_safely(request)
    except (ModelError, StartError) as problem:
        error = str(problem)
    graph = opened.graph
    return Report(
        file=str(opened.package.file),
        manifest=str(opened.package.manifest_path) if opened.package.manifest_path else None,
        bytes=len(opened.data),
        sha256=opened.sha256,
        title=opened.package.title,
        description=graph.description,
        weights=weights_in_words(graph),
        subgraphs=graph.subgraphs,
        inputs=resolution.inputs if resolution else _facts(graph.inputs),
        outputs=resolution.outputs if resolution else _facts(graph.outputs),
        operators=dict(graph.counts()),
        custom_operators=graph.custom(),
        metadata=_metadata(opened),
        labels=resolution.plan.labels if resolution else opened.metadata.labels,
        resolution=resolution,
        error=error,
        warnings=advice(graph, resolution),
    )


def _facts(tensors: tuple[GraphTensor, ...]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(each.name, each.shape, each.dtype, each.scale, each.zero_point if any(each.scale) else ())
        for each in tensors
    )


def _metadata(opened: OpenedModel) -> dict[str, str]:
    """Return the texts in the file and its manifest; long texts are shortened."""
    metadata, manifest = opened.metadata, opened.package.manifest
    said = {
        "name": metadata.name,
        "version": metadata.version,
        "description": metadata.description,
        "author": metadata.author,
        "licence": manifest.licence or metadata.licence,
        "source": manifest.source or "",
        "task": metadata.task,
        "colour": metadata.color or "",
        "normalization": _normalization(metadata),
        **metadata.facts,
        "files inside": ", ".join(metadata.entries),
    }
    return {key: text if len(text) <= LONG else text[:LONG] + "…" for key, text in said.items() if text}


def _normalization(metadata: Metadata) -> str:
    found = metadata.normalization
    if found is None:
        return ""
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (found.mean, found.std))
    return f"mean {mean}, std {std}"
