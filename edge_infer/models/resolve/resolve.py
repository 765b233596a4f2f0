"""Resolves a request to a plan: reads all sources, applies their precedence, and reports contradictions.

The order is: request, manifest, metadata inside the file, then the tensors if they allow only one interpretation.
Resolving uses the runtime to get the real shapes. Therefore `edge_infer.models.trials.probe` resolves an untrusted file
in a child process.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import Decoder, Layout
from edge_infer.engine.decoders.options import make_decoder
from edge_infer.engine.interpreter import Interpreter, Tensor, backend_name
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.packages.labels import LARGEST as LARGEST_LABELS
from edge_infer.models.packages.labels import check_labels, parse_labels
from edge_infer.models.packages.manifest import NmsSection
from edge_infer.models.packages.package import Package, find_package
from edge_infer.models.packages.read_files import largest_here
from edge_infer.models.packages.signature import check_trust
from edge_infer.models.request import ModelRequest, Reason, Resolution, TensorFacts
from edge_infer.models.resolve.decoder_choice import Family, Signature, choose_family, with_files
from edge_infer.models.resolve.extra_inputs import FurtherInputs, apart
from edge_infer.models.resolve.input_shape import Shapes, choose_shapes, kind_of
from edge_infer.models.resolve.picture_input import Feeding, choose_feeding
from edge_infer.models.resolve.signal_input import choose_signal
from edge_infer.models.resolve.text_input import choose_text
from edge_infer.models.resolve.values import choose_threshold, choose_values, with_activation
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.tflite.metadata import Metadata, read_metadata
from edge_infer.plan.records import NMS_TASKS, DecoderPlan, ModelPlan, NmsPlan

NAMELESS: Final[tuple[Task, ...]] = ("anomaly", "regression")
"""Tasks without labels in their results."""
NO_NAMES: Final = "the classes have no names"
"""Beginning of the reason for labels that neither the file nor a manifest gives."""
NO_LABEL: Final = "???"
"""Label of a class without a name."""
_SHOWN: Final = 3
"""Maximum number of labels in a note."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model file after reading: its package, bytes and digest, and its parsed graph and metadata."""

    package: Package
    data: bytes
    sha256: str
    graph: Graph
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Labels:
    """The label of every class id, the source of the labels, and the configuration key that changes them."""

    names: tuple[str, ...]
    why: str
    key: ModelKey


def resolve(request: ModelRequest) -> ModelPlan:
    """Return the plan of a model; raises `ModelError`."""
    return examine(request).plan


def examine(request: ModelRequest) -> Resolution:
    """Resolve a model as `resolve` does, with the reason for every part of the plan."""
    return conclude(request, open_model(request))


def conclude(request: ModelRequest, opened: OpenedModel) -> Resolution:
    """Resolve an opened model as `examine` does; the paths in the plan are valid in this process."""
    try:
        return _resolution(request, opened)
    except ModelError as error:
        raise ModelError(f"{opened.package.file}: {error}", key=error.key) from error


def _resolution(request: ModelRequest, opened: OpenedModel) -> Resolution:
    manifest, metadata = opened.package.manifest, opened.metadata
    kind = kind_of(manifest.input, metadata)
    shapes = choose_shapes(manifest, opened.graph, kind)
    whole = _signature(opened, shapes)
    signature = Signature(apart(manifest.inputs, whole.inputs, kind), whole.outputs)
    family = with_files(choose_family(request, manifest, metadata, signature), opened.package)
    family, scores = with_activation(family, opened.graph, opened.graph.chosen(manifest.outputs))
    feeding = _feeding(opened, signature, family)
    main, further, further_why = FurtherInputs(feeding, manifest.input, signature.inputs[0], metadata, family).choose(
        manifest.inputs, whole.inputs
    )
    threshold, threshold_why = choose_threshold(request, opened.package, family.task)
    labels = _labels(request, opened)
    layout = Layout(signature.inputs, signature.outputs, len(labels.names), threshold, family.options)
    decoder = make_decoder(family.name, family.decoder, layout)
    labels = _check_count(labels, decoder, opened.graph)
    values, values_why = choose_values(manifest.values, decoder)
    plan = ModelPlan(
        name=request.name,
        title=opened.package.title,
        version=manifest.version,
        sha256=opened.sha256,
        path=opened.package.place(opened.package.file),
        task=family.task,
        decoder=DecoderPlan(family.name, family.target, family.options),
        labels=labels.names,
        input=main,
        threshold=threshold,
        nms=_nms(opened.package, family),
        values=values,
        state=manifest.state,
        further=further,
        shapes=shapes,
        outputs=manifest.outputs,
    )
    reasons = (
        Reason("task", family.task, family.task_why),
        Reason("decoder", family.name, family.why),
        *scores,
        *((Reason("labels", _in_short(labels.names), labels.why),) if family.task not in NAMELESS else values_why),
        *feeding.reasons,
        *further_why,
        *(_overlaps(plan.nms, manifest.nms, family.name) if family.task == "detection" else ()),
        Reason("threshold", f"{threshold:g}", threshold_why),
    )
    notes = (*feeding.notes, *(() if family.task in NAMELESS else _shared(labels.names)))
    return Resolution(plan, _facts(whole.inputs), _facts(whole.outputs), reasons, notes)


def _feeding(opened: OpenedModel, signature: Signature, family: Family) -> Feeding:
    said, metadata = opened.package.manifest.input, opened.metadata
    kind = kind_of(said, metadata)
    if kind == "text":
        return choose_text(opened.package, opened.data, opened.graph, metadata, signature.inputs)
    if kind == "samples":
        remembers = bool(opened.package.manifest.state) or opened.graph.remembers()
        return choose_signal(said, metadata, signature.inputs[0], remembers=remembers)
    return choose_feeding(said, metadata, signature.inputs[0], family)


def open_model(request: ModelRequest) -> OpenedModel:
    """Read and parse a model without the runtime; raises `ModelError` if it is damaged or violates digest or policy.

    No part of the model is parsed before its digest, signature and version are checked.
    """
    package = find_package(Path(request.file), request.roots)
    data = package.content(package.file, largest_here())
    check_trust(package, hashlib.sha256(data).hexdigest(), request)
    return parse(package, data)


def parse(package: Package, data: bytes) -> OpenedModel:
    """Parse a model; the caller has already checked its trust. Raises `ModelError` for a damaged model."""
    try:
        graph = Graph.read(data)
        return OpenedModel(package, data, hashlib.sha256(data).hexdigest(), graph, read_metadata(data, graph.metadata))
    except ModelError as error:
        raise ModelError(f"{package.file}: {error}", key=error.key) from error


def _signature(opened: OpenedModel, shapes: Shapes) -> Signature:
    """Return the tensors from the runtime, because files leave the shapes of some outputs open."""
    manifest = opened.package.manifest
    try:
        interpreter = Interpreter(opened.data, state=manifest.state, shapes=shapes, outputs=manifest.outputs)
    except ModelError as error:
        raise ModelError(why_refused(opened.graph, str(error))) from error
    try:
        return Signature(interpreter.inputs, interpreter.outputs)
    finally:
        interpreter.close()


def _facts(tensors: tuple[Tensor, ...]) -> tuple[TensorFacts, ...]:
    return tuple(TensorFacts(each.name, each.shape, each.dtype, each.scale, each.zero_point) for each in tensors)


def why_refused(graph: Graph, reason: str) -> str:
    """Return the reason for a refusal in words: the runtime names no tensors, and operators only sometimes."""
    faults = graph.faults()
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return f"{backend_name()} rejects it: {faults[0]}{more}; convert the model again with a current converter"
    flex = [name for name in graph.custom() if name.startswith("Flex")]
    if flex:
        return (
            f"it needs TensorFlow's own operators ({', '.join(flex)}), which the runtime does not have; convert it "
            "with TFLITE_BUILTINS only"
        )
    if graph.custom():
        return f"{reason}; it has custom operators: {', '.join(graph.custom())}"
    return reason


def _labels(request: ModelRequest, opened: OpenedModel) -> Labels:
    """Return the labels of the first source that has any: request, manifest, metadata; empty if none has."""
    package, metadata = opened.package, opened.metadata
    if request.labels is not None:
        return Labels(check_labels(request.labels, "labels"), "asked for", "labels")
    if request.labels_file is not None:
        path = Path(request.labels_file)
        data = package.content(path, LARGEST_LABELS, key="labels")
        return Labels(_parsed(data, path, "labels"), f"requested: {path}", "labels")
    said = package.manifest.labels
    if isinstance(said, str):
        path, data = package.read(said, LARGEST_LABELS)
        return Labels(_parsed(data, path, "file"), f"manifest: {said}", "file")
    if said is not None:
        return Labels(check_labels(said, f"{package.manifest_path}: labels"), "manifest", "file")
    if metadata.labels_fault:
        raise ModelError(f"{metadata.labels_fault}; give labels of your own", key="labels")
    if metadata.labels:
        return Labels(metadata.labels, f"{metadata.labels_from} inside the file", "labels")
    return Labels((), f"{NO_NAMES}, so results use numbers; add labels: FILE", "labels")


def _shared(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note about classes with the same label, which occur in public label files.

    ``???`` does not count as a label.
    """
    counts = Counter(label for label in labels if label != NO_LABEL)
    several = [label for label, count in counts.items() if count > 1]
    if not several:
        return ()
    more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
    return (
        f"several classes have one label, and results do not distinguish them: {'; '.join(several[:_SHOWN])}{more}",
    )


def _nms(package: Package, family: Family) -> NmsPlan:
    said, usual = package.manifest.nms, family.decoder.nms
    if "nms" in package.manifest.model_fields_set and family.task not in NMS_TASKS:
        text = f"belongs to models of task {' or '.join(NMS_TASKS)}; this one is of task {family.task}; remove the key"
        raise ModelError(package.fault("nms", text))
    iou = usual.iou if said.iou is None else said.iou
    return NmsPlan(iou, usual.max if said.max is None else said.max)


def _overlaps(nms: NmsPlan, said: NmsSection, family: str) -> tuple[Reason, ...]:
    why = f"as {family} models usually are" if said.iou is None and said.max is None else "manifest"
    return (Reason("overlaps", f"merged above an IoU of {nms.iou:g}, at most {nms.max} boxes", why),)


def _parsed(data: bytes, path: Path, key: ModelKey) -> tuple[str, ...]:
    try:
        return parse_labels(data, str(path))
    except ModelError as error:
        raise ModelError(str(error), key=key) from error


def _check_count(labels: Labels, decoder: Decoder, graph: Graph) -> Labels:
    """Return the labels if each class has one, or numbers if there are no labels; otherwise raise `ModelError`."""
    possible = (decoder.classes,) if decoder.classes else _classes_inside(graph)
    if not labels.names and decoder.task == "pose" and possible == (1,):
        return Labels(("person",), f"{NO_NAMES}: bodies are persons", labels.key)
    if not labels.names and not possible and decoder.task not in NAMELESS:
        raise ModelError("the number of its classes is unknown; name them, with labels: FILE", key="labels")
    if not labels.names:
        return Labels(tuple(map(str, range(possible[0] if possible else 0))), labels.why, labels.key)
    if possible and len(labels.names) not in possible:
        expected = " or ".join(map(str, possible))
        raise ModelError(
            f"{len(labels.names)} labels ({labels.why}) for {expected} classes{_hint(len(labels.names), possible)}",
            key=labels.key,
        )
    return labels


def _classes_inside(graph: Graph) -> tuple[int, ...]:
    """Return the class counts that are possible for a model that reads the scores in its last step.

    The scores of an SSD with its own post-processing may include a background class; the scores of an ``ARG_MAX``
    contain only classes.
    """
    for operator in reversed(graph.operators):
        position = {"TFLite_Detection_PostProcess": 1, "ARG_MAX": 0}.get(operator.name)
        if position is None or len(operator.inputs) <= position:
            continue
        index = operator.inputs[position]
        shape = graph.tensors[index].shape if 0 <= index < len(graph.tensors) else ()
        if len(shape) < 2 or shape[-1] < 2:
            return ()
        return (shape[-1],) if operator.name == "ARG_MAX" else (shape[-1] - 1, shape[-1])
    return ()


def _hint(labels: int, possible: tuple[int, ...]) -> str:
    if labels == min(possible) - 1:
        return "; if the first class is the background, add a line background at the top"
    if labels == max(possible) + 1:
        return "; if the first label is a background that this model does not have, remove it"
    return ""


def _in_short(labels: tuple[str, ...]) -> str:
    shown = "; ".join(label if len(label) <= 20 else label[:19] + "…" for label in labels[:3])
    shown += "; …" if len(labels) > 3 else ""
    return f"{len(labels)}: {shown}" if labels else "none"
