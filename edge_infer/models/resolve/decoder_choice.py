"""Choice of the decoder for a model: the named one, or the only one that recognises the model's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_infer.contract.codec import JsonValue, replace
from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Decoder, decoder_class, decoder_names, decoder_target
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ConfigError, ModelError, ModelKey
from edge_infer.models.packages.manifest import TASKS, Manifest
from edge_infer.models.packages.package import Package
from edge_infer.models.packages.read_files import file_options
from edge_infer.models.request import ModelRequest
from edge_infer.models.tflite.metadata import Metadata

LARGEST_FILE: Final = 64 << 20
"""Maximum size in bytes of a file that a decoder parameter names."""
METADATA: Final = "metadata in the file"
ULTRALYTICS_TASKS: Final[Mapping[str, str]] = {
    "detect": "detection",
    "classify": "classification",
    "pose": "pose",
    "segment": "detection",
    "obb": "detection of rotated boxes",
}
ULTRALYTICS_DECODERS: Final[Mapping[str, str]] = {"pose": "yolov8_pose", "segment": "yolov8_segment"}
"""Decoders that cannot always be recognised by the tensor shapes alone."""


@dataclass(frozen=True, slots=True)
class Family:
    """The chosen decoder and why it was chosen."""

    name: str
    target: str
    decoder: type[Decoder]
    task: Task
    task_why: str
    why: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signature:
    """The input and output tensors of a model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def choose_family(request: ModelRequest, manifest: Manifest, metadata: Metadata, signature: Signature) -> Family:
    """Return the decoder family of a model.

    Raises `ModelError` if none or several fit, or if the sources contradict each other.
    """
    task, task_why = _task(request, manifest, metadata)
    if request.decoder is not None:
        return _named(request.decoder, "asked for", {}, task, task_why)
    if manifest.decoder is not None:
        return _named(manifest.decoder.kind, "manifest", manifest.decoder.options, task, task_why)
    if metadata.ultralytics and metadata.task in ULTRALYTICS_DECODERS and task_why.startswith(METADATA):
        options: dict[str, JsonValue] = {"keypoints": metadata.keypoints} if metadata.keypoints else {}
        return _named(ULTRALYTICS_DECODERS[metadata.task], task_why, options, task, task_why)
    found = _recognised(task, task_why, signature) or _only_one(task, task_why)
    return found or _labelled(task, task_why, metadata, signature)


def with_files(family: Family, package: Package) -> Family:
    """Return the family with paths in place of the file names in its parameters."""
    paths: dict[str, JsonValue] = {}
    for key, name in file_options(family.options).items():
        path, _ = package.read(name, LARGEST_FILE)
        paths[key] = package.place(path)
    return replace(family, options={**family.options, **paths})


def _only_one(task: Task | None, task_why: str) -> Family | None:
    """Return the family if the task has only one. The decoder of the family later checks whether the tensors fit."""
    names = [name for name in decoder_names() if task and decoder_class(decoder_target(name)).task == task]
    return _named(names[0], f"the only family for {task}", {}, task, task_why) if len(names) == 1 else None


def _labelled(task: Task | None, task_why: str, metadata: Metadata, signature: Signature) -> Family:
    """Return the classification family if the output is a row with one number per label; else raise `ModelError`.

    The labels are those in the model file.
    """
    if task in (None, "classification") and metadata.labels and _one_for_each(metadata.labels, signature):
        why = f"one row of numbers, and {len(metadata.labels)} labels for it in {metadata.labels_from} inside the file"
        return _named("classification", why, {}, "classification", task_why or METADATA)
    for_task = f" for {task} ({task_why})" if task else ""
    raise ModelError(
        f"no decoder{for_task} recognises it; known families: {', '.join(decoder_names())}. It has "
        f"{_seen(signature)}. If it belongs to one of them, set decoder: NAME in a manifest beside the file (or "
        "--decoder)",
        key=_key("", task_why),
    )


def _task(request: ModelRequest, manifest: Manifest, metadata: Metadata) -> tuple[Task | None, str]:
    if request.task is not None:
        return request.task, "asked for"
    if manifest.task is not None:
        return manifest.task, "manifest"
    if not metadata.task:
        return None, ""
    word = ULTRALYTICS_TASKS.get(metadata.task, metadata.task)
    for task in TASKS:
        if task == word:
            return task, f"{METADATA}: task {metadata.task}"
    raise ModelError(f"its metadata names the task {word}, which is not known; known: {', '.join(TASKS)}")


def _named(name: str, said_by: str, options: Mapping[str, JsonValue], task: Task | None, task_why: str) -> Family:
    try:
        target = decoder_target(name)
    except ConfigError as error:
        known = ", ".join(decoder_names())
        raise ModelError(f"decoder {name!r} ({said_by}) is not known; known: {known}", key="decoder") from error
    decoder = decoder_class(target)
    if task is not None and decoder.task != task:
        raise ModelError(
            f"decoder {name} ({said_by}) is for {decoder.task}, but the task is {task} ({task_why})",
            key=_key(said_by, task_why),
        )
    return Family(name, target, decoder, decoder.task, task_why or f"decoder {name}", said_by, options)


def _key(decoder_why: str, task_why: str) -> ModelKey:
    return "decoder" if decoder_why == "asked for" else "task" if task_why == "asked for" else "file"


def _recognised(task: Task | None, task_why: str, signature: Signature) -> Family | None:
    """Return the family of the decoder that recognises the tensors, or None; raises `ModelError` if several do."""
    found = []
    for name in decoder_names():
        target = decoder_target(name)
        decoder = decoder_class(target)
        reason = decoder.recognise(signature.inputs, signature.outputs)
        if reason is not None and task in (None, decoder.task):
            found.append(Family(name, target, decoder, decoder.task, task_why or f"decoder {name}", reason))
    if len(found) > 1:
        readings = "; or ".join(f"{family.name} ({family.why})" for family in found)
        raise ModelError(
            f"its tensors fit several decoders: {readings}. Choose one with decoder: {found[0].name} in a manifest "
            f"beside the file (or --decoder). It has {_seen(signature)}"
        )
    return found[0] if found else None


def _one_for_each(labels: tuple[str, ...], signature: Signature) -> bool:
    """Return whether the only output is a row with one number for each label."""
    return [output.shape for output in signature.outputs] in ([(len(labels),)], [(1, len(labels))])


def _seen(signature: Signature) -> str:
    return f"inputs {described(signature.inputs)}; outputs {described(signature.outputs)}"


def described(tensors: tuple[Tensor, ...]) -> str:
    """Describe tensors briefly, for errors."""
    shown = [f"{tensor.name} {_shape(tensor)}" for tensor in tensors[:8]]
    return ", ".join(shown) + (", …" if len(tensors) > 8 else "")


def _shape(tensor: Any) -> str:
    return f"{'x'.join(map(str, tensor.shape)) or 'scalar'} {tensor.dtype}"
