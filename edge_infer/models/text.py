"""How text becomes the input of a model, and who says so: manifest before metadata, and the tensor for the length."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge_infer.config.plan import TextPlan
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.text import make_tokenizer, row_length
from edge_infer.engine.preprocess.vocabulary import LARGEST, Vocabulary, parse_vocabulary
from edge_infer.engine.preprocess.wordpiece import is_lowercase
from edge_infer.engine.preprocess.words import DEFAULT_PATTERN, PAD, START, UNKNOWN
from edge_infer.errors import ModelError
from edge_infer.models.feeding import Feeding
from edge_infer.models.files import inside, read_whole
from edge_infer.models.manifest import InputSection
from edge_infer.models.metadata import Metadata, packed_file
from edge_infer.models.package import Package
from edge_infer.models.resolution import Reason
from edge_infer.models.store import keep

METADATA: Final = "metadata in the file"
Kind = Literal["regex", "wordpiece"]
ROLES: Final = (("mask", "mask"), ("segment", "segments"), ("type", "segments"))
"""What a part of an input's name says that it is for; BERT's are called input_mask, segment_ids, token_type_ids …"""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the words come from: a file, or one inside the model file, and who says so."""

    data: bytes
    path: Path
    packed: str | None
    why: str

    def place(self, store: Path | None) -> tuple[str, str | None]:
        """Path and name inside it, as the engine reads it: with a store a copy there, which needs no unpacking."""
        if store is None:
            return str(self.path), self.packed
        return str(keep(self.data, hashlib.sha256(self.data).hexdigest(), store, ".txt")), None


def choose_text(
    package: Package, data: bytes, metadata: Metadata, inputs: tuple[Tensor, ...], store: Path | None
) -> Feeding:
    """The decision for a model whose bytes are ``data``; raises `ModelError` where something is missing or unfit."""
    said = package.manifest.input
    kind, kind_why = _kind(said, metadata)
    source = _vocabulary(package, data, metadata)
    words = parse_vocabulary(source.data, f"{source.packed} inside the file" if source.packed else str(source.path))
    lowercase, case_why = _lowercase(said, kind, words)
    tensor, mask, segments = _roles(inputs, metadata)
    length = row_length(tensor)
    if said.length not in (None, length):
        raise ModelError(f"the manifest says input: length: {said.length}, but {tensor.name} takes {length} ids")
    pattern, pattern_why = _pattern(said, kind, metadata)
    path, packed = source.place(store)
    digest = hashlib.sha256(source.data).hexdigest()
    plan = TextPlan(kind, path, digest, length, packed, pattern, lowercase, mask, segments)
    make_tokenizer(plan, words)
    reasons = [
        Reason("tokenizer", _in_words(kind, words), kind_why),
        Reason("vocabulary", f"{len(words)} words", source.why),
        Reason("capitals", "become small letters" if lowercase else "are kept", case_why),
        Reason("length", f"{length} ids, what is beyond is left out", "the input's shape"),
    ]
    if len(inputs) > 1:
        roles = ((tensor.name, "ids"), (mask, "mask"), (segments, "segments"))
        text = ", ".join(f"{name} ({role})" for name, role in roles if name)
        reasons.append(Reason("inputs", text, "as their names say"))
    if pattern is not None:
        reasons.insert(1, Reason("delimiter", pattern, pattern_why))
    return Feeding(plan, tuple(reasons))


def _roles(inputs: tuple[Tensor, ...], metadata: Metadata) -> tuple[Tensor, str | None, str | None]:
    """The input for ids and the names of those for the mask and the segments, by what they are called."""
    known = metadata.tokenizer.inputs if metadata.tokenizer else ()
    names = known if len(known) == len(inputs) and all(known) else tuple(tensor.name for tensor in inputs)
    found: dict[str, list[Tensor]] = {"ids": [], "mask": [], "segments": []}
    for name, tensor in zip(names, inputs, strict=True):
        found[next((role for word, role in ROLES if word in name.lower()), "ids")].append(tensor)
    ids, masks, segments = found.values()
    if len(ids) != 1 or len(masks) > 1 or len(segments) > 1 or len({tensor.shape for tensor in inputs}) > 1:
        shown = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in zip(names, inputs, strict=True))
        raise ModelError(
            f"it has the inputs {shown}; a model of text has one for word ids, and at most one of the same shape with "
            "mask and one with segment or type in its name"
        )
    return ids[0], masks[0].name if masks else None, segments[0].name if segments else None


def _kind(said: InputSection, metadata: Metadata) -> tuple[Kind, str]:
    if said.tokenizer is not None:
        return said.tokenizer, "manifest"
    if metadata.tokenizer is None or metadata.tokenizer.kind == "sentencepiece":
        raise ModelError("its metadata names a SentencePiece tokenizer; those that are known are regex and wordpiece")
    return metadata.tokenizer.kind, METADATA


def _vocabulary(package: Package, data: bytes, metadata: Metadata) -> _Source:
    said, named = package.manifest.input.vocabulary, metadata.tokenizer.vocabulary if metadata.tokenizer else ""
    if said is not None:
        path = inside(package.folder, said)
        return _Source(read_whole(path, LARGEST), path, None, f"manifest: {said}")
    if not named:
        raise ModelError("nobody names its vocabulary; say input: {vocabulary: FILE} in a manifest beside the file")
    return _Source(packed_file(data, named), package.file, named, f"{named} inside the file")


def _pattern(said: InputSection, kind: Kind, metadata: Metadata) -> tuple[str | None, str]:
    if kind != "regex":
        if said.pattern is not None:
            raise ModelError("the manifest says input: pattern:, which only a regex tokenizer has")
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
    return (True, "no word has any") if is_lowercase(words) else (False, "the vocabulary has them")


def _in_words(kind: Kind, words: Vocabulary) -> str:
    if kind == "wordpiece":
        return "wordpiece, [CLS] … [SEP]"
    named = (("begins with", START), ("unknown", UNKNOWN), ("fills with", PAD))
    parts = [f"{what} {name}" for what, names in named for name in names if name in words]
    return ", ".join(["regex", *parts])
