"""Draft of a manifest for a model: every decision about the model, with the source of each value."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from edge_infer.contract.codec import JsonValue, asdict
from edge_infer.models.packages.manifest import FurtherSection
from edge_infer.models.packages.read_files import file_options
from edge_infer.models.request import Resolution
from edge_infer.models.resolve.resolve import NO_NAMES, OpenedModel
from edge_infer.plan.records import Color, FilterPlan, InputPlan, Resize, SignalPlan, TextPlan, ValuePlan
from edge_infer.yamlfile.units import format_duration, parse_duration

WIDTH: Final = 100
DURATIONS: Final = frozenset({"window", "hop", "stride"})
ASKED_FOR: Final = {
    "rate": "rate",
    "stride": "next after",
    "filter": "filter",
    "tokenizer": "tokenizer",
    "pattern": "delimiter",
    "lowercase": "capitals",
    "length": "length",
}
"""Keys of ``input``, each with the name of its reason. All other keys use the reason of the features."""
PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ -][A-Za-z0-9_]+)*")
WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that some version of YAML reads as something other than text."""


def draft(opened: OpenedModel, found: Resolution) -> str:
    """Return YAML that `find_package` reads. Saved as ``X.yaml`` beside ``X.tflite``, it resolves to the same plan.

    Only name and version are invented, and only if the model has none.
    """
    return "\n".join([*_head(opened), *_outcome(opened, found), *_input(opened, found), *_rest(opened, found), ""])


def _head(opened: OpenedModel) -> Iterator[str]:
    said, file = opened.package.manifest, opened.package.file
    place = opened.package.manifest_path or file.with_suffix(".yaml")
    yield from _comment(f"Save it as {place.name} beside {file.name}, and correct values that you know better.")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_")[:64] or "model"
    yield from _key("name", said.name or name, "manifest" if said.name else "the file's name")
    yield from _key("version", said.version or "0.1.0", "manifest" if said.version else "a first version; increase it")
    yield from _key("file", file.name, "in the same folder")
    yield from _key("sha256", opened.sha256, "of this file; other files are rejected")


def _outcome(opened: OpenedModel, found: Resolution) -> Iterator[str]:
    """Yield the keys about the model's outputs."""
    plan, why = found.plan, _reasons(found)
    yield from _key("task", plan.task, why["task"])
    options: dict[str, JsonValue] = dict(plan.decoder.options)
    if opened.package.manifest.decoder is not None:
        options |= file_options(opened.package.manifest.decoder.options)
    decoder_why = "; ".join(why[key] for key in ("decoder", "scores") if key in why)
    yield from _key("decoder", {"kind": plan.decoder.kind, **options} if options else plan.decoder.kind, decoder_why)
    if "labels" in why:
        yield from _labels(plan.labels, why["labels"])
    if plan.values:
        yield from _key("values", [_value(value) for value in plan.values], why["values"])
    yield from _key("threshold", plan.threshold, why["threshold"])
    said = opened.package.manifest.nms
    if plan.task == "detection" or said.iou is not None or said.max is not None:
        nms_why = why.get("overlaps", "manifest")
        yield from _key("nms", {"iou": plan.nms.iou, "max": plan.nms.max}, nms_why)
    inputs = opened.package.manifest.inputs
    if inputs:
        further = {name: _further(section) for name, section in inputs.items()}
        yield from _key("inputs", further, "manifest: inputs other than the main `input`")
    if plan.outputs:
        yield from _key("outputs", plan.outputs, "manifest: outputs that the decoder uses")
    if plan.state:
        yield from _key("state", dict(plan.state), "manifest: outputs, and the inputs that receive them")


def _labels(labels: Sequence[str], why: str) -> Iterator[str]:
    if why.startswith(NO_NAMES):
        count = "its only class has none" if len(labels) == 1 else f"its {len(labels)} classes have numbers"
        yield from _comment(f"labels: [NAME, …] no names are known, so {count}; write the names, in the model's order")
        return
    yield from _key("labels", labels, why)


def _value(value: ValuePlan) -> dict[str, Any]:
    """Return the name of a value, and its settings that differ from the defaults."""
    usual = ValuePlan(value.name)
    said = asdict(value)
    return {key: item for key, item in said.items() if key == "name" or item != getattr(usual, key)}


def _input(opened: OpenedModel, found: Resolution) -> Iterator[str]:
    """Yield the keys about the model's input."""
    why = _reasons(found)
    yield "input:"
    if isinstance(found.plan.input, InputPlan):
        lines = _picture(found.plan.input, why)
    elif isinstance(found.plan.input, SignalPlan):
        lines = _signal(found.plan.input, why)
    else:
        lines = _text(found.plan.input, why, opened.package.manifest.input.vocabulary)
    yield from (f"  {line}" for line in lines)
    said = opened.package.manifest.input
    if said.size is not None:
        yield from (
            f"  {line}" for line in _key("size", "{}x{}".format(*said.size), "manifest: the file leaves it open")
        )
    if said.length is not None and isinstance(found.plan.input, SignalPlan):
        yield from (f"  {line}" for line in _key("length", said.length, "manifest: the file leaves it open"))


def _further(said: FurtherSection) -> dict[str, Any]:
    found = {key: getattr(said, key) for key in FurtherSection.model_fields if key in said.model_fields_set}
    for key in DURATIONS & found.keys():
        found[key] = _duration(found[key])
    if "size" in found:
        found["size"] = "{}x{}".format(*found["size"])
    return {key: _short(value) if key in ("mean", "std", "value") else value for key, value in found.items()}


def _picture(plan: InputPlan, why: Mapping[str, str]) -> Iterator[str]:
    others = {"color": (plan.color, get_args(Color)[:2]), "resize": (plan.resize, get_args(Resize))}
    for key, (value, possible) in others.items():
        reason = why["colour" if key == "color" else key]
        if reason.endswith("usually are"):
            left = " or ".join(str(option) for option in possible if option != value)
            reason += f"; it could be {left} as well: compare what `edge-infer infer` finds in pictures that you know"
        yield from _key(key, value, reason)
    if plan.mean is None or plan.std is None:
        yield from _comment(f"mean and std are not needed: {why['values']}")
        return
    yield from _key("mean", _short(plan.mean), f"{why['values']}; brightness of 0 to 255 becomes (value - mean) / std")
    yield from _key("std", _short(plan.std), why["values"])


def _signal(plan: SignalPlan, why: Mapping[str, str]) -> Iterator[str]:
    usual = SignalPlan(plan.features)
    for name in plan.__struct_fields__:
        value: Any = getattr(plan, name)
        if name in ("peak", "width", "values") or (
            name != "features" and value == getattr(usual, name) and not (name == "scale" and plan.peak)
        ):
            continue
        if name == "scale" and plan.peak:
            value = "peak"
        elif name in DURATIONS:
            value = _duration(value)
        elif name == "filter":
            value = _filter(value)
        elif isinstance(value, tuple):
            value = _short(value)
        yield from _key(name, value, why[ASKED_FOR.get(name, "features")])
    if plan.rate is None:
        yield from _comment(f"rate: the model gets the samples unchanged: {why['rate']}")


def _text(plan: TextPlan, why: Mapping[str, str], vocabulary: str | None) -> Iterator[str]:
    yield from _key("tokenizer", plan.tokenizer, why["tokenizer"])
    if vocabulary is None:
        yield from _comment(f"vocabulary is not needed: {why['vocabulary']}")
    else:
        yield from _key("vocabulary", vocabulary, why["vocabulary"])
    for key in ("length", "pattern", "lowercase"):
        value = getattr(plan, key)
        if value is not None:
            yield from _key(key, value, why[ASKED_FOR[key]])


def _rest(opened: OpenedModel, found: Resolution) -> Iterator[str]:
    said = opened.package.manifest
    licence = said.licence or opened.metadata.licence
    if licence and len(licence) <= 1024 and licence.isprintable():
        yield from _key("licence", licence, "manifest" if said.licence else "metadata in the file")
    if said.source:
        yield from _key("source", said.source, "manifest")
    if said.golden or said.model_fields_set & {"budget"}:
        yield from _comment("this draft omits golden and budget: copy them from the existing manifest")
    for note in found.notes:
        yield from _comment(note)


def _reasons(found: Resolution) -> dict[str, str]:
    return {reason.what: reason.why for reason in found.reasons}


def _key(key: str, value: Any, why: str) -> Iterator[str]:
    """Yield a comment and the key with its value; long lists get one line for each item."""
    yield from _comment(why)
    text = f"{key}: {_written(value)}"
    if isinstance(value, (list, tuple)) and len(text) > WIDTH:
        yield f"{key}: ["
        for item in value:
            yield f"  {_written(item)},"
        yield "]"
        return
    yield text


def _written(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
        return value if plain else json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(key)}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _decimal(value)
    return json.dumps(value)


def _decimal(value: float) -> str:
    """Return the number with a decimal point, which YAML requires before an exponent."""
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def _short(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values


def _duration(seconds: float) -> str | float:
    text = format_duration(seconds)
    return text if not text[-1].isdigit() and parse_duration(text) == seconds else seconds


def _filter(plan: FilterPlan) -> dict[str, Any]:
    return {key: value for key, value in asdict(plan).items() if value is not None}


def _comment(text: str) -> Iterator[str]:
    """Yield comment lines. Unprintable characters become spaces, so that text from the model cannot end the comment."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    yield from (f"# {line}" for line in textwrap.wrap(clean, WIDTH, break_on_hyphens=False)[:4])
