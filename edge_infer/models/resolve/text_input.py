"""Decides how text becomes the model's input, from the manifest, then the metadata; the tensor defines the length."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.text import make_tokenizer, row_length
from edge_infer.engine.preprocess.tokenizers import DEFAULT_PATTERN, PAD_WORDS, START_WORDS, UNKNOWN_WORDS, is_lowercase
from edge_infer.engine.preprocess.vocabulary import LARGEST, Vocabulary, parse_vocabulary
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import InputSection
from edge_infer.models.packages.package import Package
from edge_infer.models.request import Reason
from edge_infer.models.resolve.picture_input import Feeding
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.tflite.metadata import Metadata, packed_file
from edge_infer.plan.records import TextPlan

METADATA: Final = "metadata in the file"
Kind = Literal["regex", "wordpiece"]
ROLES: Final = (("mask", "mask"), ("segment", "segments"), ("type", "segments"))
"""Roles of inputs, by a part of their names. BERT's inputs are called input_mask, segment_ids, token_type_ids and so
on."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Source of the vocabulary: a file, or a file inside the model file (``packed``), and the reason for it."""

    data: bytes
    path: Path
    packed: str | None
    why: str

    @property
    def sha256(self) -> str:
        """The digest of the vocabulary."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def where(self) -> str:
        """The location of the vocabulary, for error texts."""
        return f"{self.packed} inside the file" if self.packed else str(self.path)


def choose_text(package: Package, data: bytes, graph: Graph, metadata: Metadata, inputs: tuple[Tensor, ...]) -> Feeding:
    """Choose the input plan of a model with the bytes ``data``.

    Raises `ModelError` if a part is missing or does not fit.
    """
    said = package.manifest.input
    kind, kind_why = _kind(said, metadata)
    source = _vocabulary(package, data, metadata)
    words = parse_vocabulary(source.data, source.where)
    lowercase, case_why = _lowercase(said, kind, words)
    pattern, pattern_why = _pattern(said, kind, metadata)
    tensor, mask, segments = _roles(inputs, metadata)
    length = _length(said, tensor)
    _check_ids(words, graph.rows(tensor.name), source)
    plan = TextPlan(
        kind,
        package.place(source.path),
        source.sha256,
        length,
        source.packed,
        pattern,
        lowercase,
        mask=mask,
        segments=segments,
    )
    make_tokenizer(plan, words)
    reasons = (
        Reason("tokenizer", _in_words(kind, words), kind_why),
        *((Reason("delimiter", pattern, pattern_why),) if pattern is not None else ()),
        Reason("vocabulary", f"{len(words)} words", source.why),
        Reason("capitals", "become lower case" if lowercase else "are kept", case_why),
        Reason("length", f"{length} ids, further ones are dropped", "the input's shape"),
        *_inputs_in_words(tensor, mask, segments),
    )
    return Feeding(plan, reasons)


def _length(said: InputSection, tensor: Tensor) -> int:
    length = row_length(tensor)
    if said.length not in (None, length):
        raise ModelError(f"the manifest sets input: length: {said.length}, but {tensor.name} takes {length} ids")
    return length


def _check_ids(words: Vocabulary, rows: int | None, source: _Source) -> None:
    last = max(words.values())
    if rows is not None and last >= rows:
        raise ModelError(
            f"its vocabulary ({source.why}) has ids up to {last}, but the model has {rows} words; is it the "
            "vocabulary of another model?"
        )


def _inputs_in_words(tensor: Tensor, mask: str | None, segments: str | None) -> tuple[Reason, ...]:
    if mask is None and segments is None:
        return ()
    roles = ((tensor.name, "ids"), (mask, "mask"), (segments, "segments"))
    text = ", ".join(f"{name} ({role})" for name, role in roles if name)
    return (Reason("inputs", text, "by their names"),)


def _roles(inputs: tuple[Tensor, ...], metadata: Metadata) -> tuple[Tensor, str | None, str | None]:
    """Return the input for ids and the names of the inputs for mask and segments, chosen by name."""
    known = metadata.tokenizer.inputs if metadata.tokenizer else ()
    names = known if len(known) == len(inputs) and all(known) else tuple(tensor.name for tensor in inputs)
    found: dict[str, list[Tensor]] = {"ids": [], "mask": [], "segments": []}
    for name, tensor in zip(names, inputs, strict=True):
        found[next((role for word, role in ROLES if word in name.lower()), "ids")].append(tensor)
    ids, masks, segments = found.values()
    if len(ids) != 1 or len(masks) > 1 or len(segments) > 1 or len({tensor.shape for tensor in inputs}) > 1:
        shown = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in zip(names, inputs, strict=True))
        raise ModelError(
            f"it has the inputs {shown}; expected one for word ids, and at most one of the same shape with mask and "
            "one with segment or type in its name"
        )
    return ids[0], masks[0].name if masks else None, segments[0].name if segments else None


def _kind(said: InputSection, metadata: Metadata) -> tuple[Kind, str]:
    if said.tokenizer is not None:
        return said.tokenizer, "manifest"
    if metadata.tokenizer is None or metadata.tokenizer.kind == "sentencepiece":
        raise ModelError("its metadata names a SentencePiece tokenizer; known tokenizers: regex and wordpiece")
    return metadata.tokenizer.kind, METADATA


def _vocabulary(package: Package, data: bytes, metadata: Metadata) -> _Source:
    said, named = package.manifest.input.vocabulary, metadata.tokenizer.vocabulary if metadata.tokenizer else ""
    if said is not None:
        path, words = package.read(said, LARGEST)
        return _Source(words, path, None, f"manifest: {said}")
    if not named:
        raise ModelError("its vocabulary is unknown; set input: {vocabulary: FILE} in a manifest beside the file")
    return _Source(packed_file(data, named), package.file, named, f"{named} inside the file")


def _pattern(said: InputSection, kind: Kind, metadata: Metadata) -> tuple[str | None, str]:
    if kind != "regex":
        if said.pattern is not None:
            raise ModelError("the manifest sets input: pattern:, which only a regex tokenizer has")
        return None, ""
    if said.pattern is not None:
        return said.pattern, "manifest"
    if metadata.tokenizer is not None and metadata.tokenizer.pattern:
        return metadata.tokenizer.pattern, METADATA
    return DEFAULT_PATTERN, "as regex tokenizers usually are"


def _lowercase(said: InputSection, kind: Kind, words: Vocabulary) -> tuple[bool, str]:
    if said.lowercase is not None:
        return said.lowercase, "manifest"
    if kind == "regex":
        return False, "as TFLite's regex tokenizers do"
    return (True, "no word has capitals") if is_lowercase(words) else (False, "the vocabulary has them")


def _in_words(kind: Kind, words: Vocabulary) -> str:
    if kind == "wordpiece":
        return "wordpiece, [CLS] … [SEP]"
    named = (("begins with", START_WORDS), ("unknown", UNKNOWN_WORDS), ("fills with", PAD_WORDS))
    parts = [f"{what} {name}" for what, names in named for name in names if name in words]
    return ", ".join(["regex", *parts])
