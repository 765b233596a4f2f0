"""Verification of a probe's answer against the request.

The model has run in the probe process, so it may have forged the answer. The answer may describe the model freely. It
must not:

- claim to be another model;
- contradict the configuration or the manifest;
- choose the code and files that the engine loads from this machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge_infer.contract.codec import JsonValue, asdict, dumps, replace
from edge_infer.errors import ConfigError, ModelError
from edge_infer.models.packages.blob_store import keep
from edge_infer.models.packages.labels import check_labels, parse_labels
from edge_infer.models.packages.manifest import InputSection, Manifest, merged
from edge_infer.models.packages.package import Package
from edge_infer.models.packages.read_files import file_options
from edge_infer.models.request import ModelRequest, Resolution
from edge_infer.models.tflite.metadata import packed_file
from edge_infer.models.trials.checked_package import CheckedPackage
from edge_infer.plan.files import FILE_OPTION, moved
from edge_infer.plan.plugins import decoder_target
from edge_infer.plan.records import FurtherInput, InputPlan, Measured, ModelInput, ModelPlan, SignalPlan, TextPlan

# Comparison of a plan's inputs with the manifest's ``input`` and ``inputs``.

_ABSENT: Final = object()


def follows(plan: ModelPlan, manifest: Manifest) -> bool:
    """Return whether the plan has every value that the manifest gives for an input, and usable other values."""
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
    if said.color is None:  # a gray input does not inherit `color` from a colour main input
        section = section.model_copy(update={"color": None})
    return _fits(further.plan, section)


def _has_size(name: str, shape: tuple[int, ...], manifest: Manifest) -> bool:
    """Return whether an input without a fixed size in the file has the size in the manifest."""
    said = manifest.inputs.get(name, manifest.input)
    section = said if said.model_fields_set & {"size", "length"} else manifest.input
    sizes = ((section.size[1], section.size[0]) in (shape[1:3], shape[2:4])) if section.size else True
    return sizes and (section.length is None or section.length in shape)


def _fits(plan: ModelInput, said: InputSection) -> bool:
    return all(_input_comparisons(plan, said)) and _usable(plan)


def _input_comparisons(plan: ModelInput, said: InputSection) -> Iterator[bool]:
    """Yield, for each value that the manifest gives, whether the plan has the same value."""
    given: dict[str, Any] = {key: value for key in said.model_fields_set if (value := getattr(said, key)) is not None}
    given.pop("size", None)  # a property of the tensor: see `_has_size`
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
    """Return whether mean and divisors are in the range that a manifest may give."""
    if not isinstance(plan, (InputPlan, SignalPlan)):
        return True
    return all(map(math.isfinite, (*(plan.mean or ()), *(plan.std or ())))) and all(each > 0 for each in plan.std or ())


LABELLED: Final = ("classification", "detection", "segmentation")
"""Tasks whose models have at least one label."""
MAX_INPUTS: Final = 64
MAX_TENSOR: Final = 1 << 28
"""Maximum count of numbers in one input."""
MAX_OWN_OPTIONS_BYTES: Final = 64 << 10
"""Maximum size of decoder parameters that were not requested. The decoders' own parameters take a few hundred bytes."""
MAX_OWN_PLAN_BYTES: Final = 256 << 10
"""Maximum size of a plan, which is stored for long. Values from the manifest and labels have their own limits."""


def check_answer(found: Resolution, seconds: float, request: ModelRequest, checked: CheckedPackage) -> Resolution:
    """Return the answer, which took ``seconds``; raises `ModelError` unless it fits the request."""
    plan = found.plan
    odd = [what for what, same in _comparisons(plan, request, checked) if not same]
    odd += ["its cost"] if not _plausible(plan.measured, seconds, checked) else []
    if odd:
        raise ModelError(
            f"{checked.package.file}: the answer of the process that tried the model does not match the request "
            f"({', '.join(odd)}); the model may have taken it over",
            tried=True,
        )
    check_labels(plan.labels, f"{checked.package.file}: labels")
    return found


def still_holds(plan: ModelPlan, checked: CheckedPackage, request: ModelRequest) -> bool:
    """Return whether a stored plan, with its files in the store, would still be accepted as an answer."""
    paths = {digest: path for path in checked.paths if (digest := checked.digest(path))}
    original = moved(plan, lambda path: paths.get(Path(path).stem, path))
    odd = [what for what, same in _comparisons(original, request, checked) if not same]
    return not odd and _plausible(plan.measured, math.inf, checked) and plan.manifest == checked.package.manifest_digest


def kept(plan: ModelPlan, checked: CheckedPackage, store: Path) -> ModelPlan:
    """Return the plan with copies of all its files in the store; raises `StartError`.

    A vocabulary inside the model is extracted to its own file, so that the engine need not unpack it.
    """

    def place(path: str) -> str:
        digest = checked.digest(path)
        assert digest is not None  # `check_answer` has verified it
        ending = ".tflite" if path == str(checked.package.file) else ".txt"
        return str(keep(checked.read(path), digest, store, ending))

    text = plan.input
    if not isinstance(text, TextPlan) or text.vocabulary_file is None:
        return moved(plan, place)
    words = packed_file(checked.read(text.vocabulary), text.vocabulary_file)
    vocabulary = str(keep(words, text.vocabulary_sha256, store, ".txt"))
    return replace(moved(plan, place), input=replace(text, vocabulary=vocabulary, vocabulary_file=None))


def _comparisons(plan: ModelPlan, request: ModelRequest, checked: CheckedPackage) -> Iterator[tuple[str, bool]]:
    """Yield each compared part, named as in the configuration, and whether it meets the requirements."""
    package = checked.package
    manifest = package.manifest
    yield "name", plan.name == request.name
    yield "package", (plan.title, plan.version) == (package.title, manifest.version)
    yield "file", (plan.sha256, plan.path) == (checked.sha256, str(package.file))
    yield "task", plan.task == (request.task or manifest.task or plan.task)
    yield "decoder", _is_the_decoder(plan, request, checked)
    labelled = bool(plan.labels) or plan.task not in LABELLED  # labels without names are numbers
    yield "labels", labelled and plan.labels == _labels(request, checked, plan.labels)
    threshold = manifest.threshold if request.threshold is None else request.threshold
    yield "threshold", threshold in (None, plan.threshold)
    yield "nms", all(said in (None, found) for said, found in _pairs(manifest.nms, plan.nms))
    yield (
        "values",
        not manifest.values or [*map(asdict, plan.values)] == [each.model_dump() for each in manifest.values],
    )
    yield "state", plan.state == manifest.state
    yield "outputs", plan.outputs == manifest.outputs
    inputs = (plan.input, *(each.plan for each in plan.further))
    yield "vocabulary", all(_is_the_vocabulary(each, checked) for each in inputs if isinstance(each, TextPlan))
    yield "input", _is_sane(plan) and follows(plan, manifest)
    yield "length", _is_short(plan, request, checked)
    yield "configuration", (plan.entry, plan.origin) == ("", "")


def _pairs(said: Any, found: Any) -> Iterator[tuple[Any, Any]]:
    return ((getattr(said, key), getattr(found, key)) for key in type(said).model_fields)


def _is_sane(plan: ModelPlan) -> bool:
    """Return whether all numbers that the model chose are within the range of `resolve`, as later code requires."""
    taken, most = plan.input, MAX_TENSOR
    if isinstance(taken, InputPlan):
        whole = (taken.tiles, taken.overlap, taken.scaling) == ((1, 1), 0.0, "exact") and 0 <= taken.border <= 255
    elif isinstance(taken, SignalPlan):
        numbers = (taken.rate, taken.window, taken.hop, taken.stride, taken.bins, taken.channels, taken.width)
        whole = all(0 <= each <= 1e6 for each in numbers if each is not None)
    else:
        whole = 0 < taken.length <= most
    return (
        whole
        and 0.0 <= plan.nms.iou <= 1.0
        and 1 <= plan.nms.max <= 1000
        and (plan.task == "anomaly" or 0.0 <= plan.threshold <= 1.0)
        and len(plan.further) <= MAX_INPUTS
        and all(len(shape) <= 8 and 0 < math.prod(shape) <= most for _, shape in plan.shapes)
    )


def _is_the_decoder(plan: ModelPlan, request: ModelRequest, checked: CheckedPackage) -> bool:
    """Return whether the plan uses the registered decoder with the manifest's files."""
    manifest, package = checked.package.manifest, checked.package
    chosen = manifest.decoder if request.decoder is None else None
    wanted = request.decoder or (chosen.kind if chosen is not None else plan.decoder.kind)
    try:
        target = decoder_target(plan.decoder.kind)
    except ConfigError:
        return False
    said = _said_options(request, package)
    options = plan.decoder.options
    return (
        (plan.decoder.kind, plan.decoder.target) == (wanted, target)
        and all(options.get(key) == value for key, value in said.items())
        and all(key in said for key in options if key.endswith(FILE_OPTION))
        and len(dumps(_own_options(plan, said))) <= MAX_OWN_OPTIONS_BYTES
    )


def _said_options(request: ModelRequest, package: Package) -> Mapping[str, JsonValue]:
    """Return the decoder parameters from the manifest, with files as absolute paths."""
    chosen = package.manifest.decoder if request.decoder is None else None
    said = dict(chosen.options) if chosen is not None else {}
    return said | {key: str((package.folder / name).absolute()) for key, name in file_options(said).items()}


def _own_options(plan: ModelPlan, said: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the decoder parameters that neither the request nor the manifest gave."""
    return {key: value for key, value in plan.decoder.options.items() if key not in said}


def _is_short(plan: ModelPlan, request: ModelRequest, checked: CheckedPackage) -> bool:
    """Return whether the model's own parts are short enough for the records, which every start reads completely."""
    options = _own_options(plan, _said_options(request, checked.package))
    values = () if checked.package.manifest.values else plan.values
    own = replace(plan, labels=(), values=values, decoder=replace(plan.decoder, options=options))
    return len(dumps(own)) <= MAX_OWN_PLAN_BYTES


def _labels(request: ModelRequest, checked: CheckedPackage, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels from the configuration or the manifest, else ``otherwise``."""
    package = checked.package
    said = package.manifest.labels
    if request.labels is not None:
        return request.labels
    if request.labels_file is not None:
        return parse_labels(checked.read(request.labels_file), request.labels_file)
    if isinstance(said, str):
        return parse_labels(checked.read(package.folder / said), said)
    return otherwise if said is None else said


def _is_the_vocabulary(text: TextPlan, checked: CheckedPackage) -> bool:
    package = checked.package
    said = package.manifest.input.vocabulary
    if said is not None:
        path = str((package.folder / said).absolute())
        wanted = (path, None, checked.digest(path))
        return (text.vocabulary, text.vocabulary_file, text.vocabulary_sha256) == wanted
    if text.vocabulary != str(package.file) or text.vocabulary_file is None:
        return False
    words = packed_file(checked.read(package.file), text.vocabulary_file)
    return hashlib.sha256(words).hexdigest() == text.vocabulary_sha256


def _plausible(measured: Measured, seconds: float, checked: CheckedPackage) -> bool:
    """Return whether no duration exceeds the whole trial. The engine derives timeouts from these numbers."""
    durations = [each for each in (measured.latency, measured.load, measured.run) if each is not None]
    return (
        all(math.isfinite(each) and 0.0 <= each <= seconds for each in durations)
        and (measured.memory or 0) >= 0
        and measured.budget == checked.package.manifest.budget.latency
        and measured.runtime.isprintable()
    )
