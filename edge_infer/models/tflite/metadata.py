"""Metadata that the maker of a model stored in the file: TFLite metadata, or metadata of Ultralytics.

TFLite metadata is a flatbuffer in the buffer ``TFLITE_METADATA`` (schema: ``metadata_schema.fbs`` of tflite-support;
fields are addressed by their position there) and a zip archive appended to the file with the label files it names.
Ultralytics appends an archive with ``temp_meta.txt`` (a Python literal) or ``metadata.json``.
"""

from __future__ import annotations

import ast
import io
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from edge_infer.contract.codec import replace
from edge_infer.errors import ModelError
from edge_infer.models.packages.labels import check_labels, parse_labels
from edge_infer.models.tflite.flatbuffer import Table
from edge_infer.plan.records import Color

# The tokenizer that TFLite metadata names: a process unit of the input or, for BERT, of the whole graph.
#
# Schema: ``metadata_schema.fbs`` of tflite-support, ``ProcessUnitOptions``.

_BERT, _SENTENCEPIECE, _REGEX = 4, 5, 6
_INPUTS, _INPUT_UNITS, _UNITS_OF_TENSOR = 2, 5, 4


@dataclass(frozen=True, slots=True)
class SaidTokenizer:
    """A tokenizer from the metadata; ``vocabulary`` is a name in the archive, ``pattern`` the delimiter of a regex one.

    ``inputs`` are the names of the model's inputs in their order.
    """

    kind: Literal["regex", "wordpiece", "sentencepiece"]
    vocabulary: str
    pattern: str | None = None
    inputs: tuple[str, ...] = ()


def said_tokenizer(graph: Table) -> SaidTokenizer | None:
    """Return the tokenizer that a graph's metadata names; None if they name no tokenizer."""
    inputs = graph.tables(_INPUTS)
    units = [unit for tensor in inputs for unit in tensor.tables(_UNITS_OF_TENSOR)]
    found = [_tokenizer(unit) for unit in (*units, *graph.tables(_INPUT_UNITS))]
    first = next((each for each in found if each is not None), None)
    return None if first is None else replace(first, inputs=tuple(tensor.text(0) for tensor in inputs))


def _tokenizer(unit: Table) -> SaidTokenizer | None:
    options = unit.table(1)
    if options is None:
        return None
    kind = unit.number(0, "B")
    if kind == _BERT:
        return SaidTokenizer("wordpiece", _file(options, 0))
    if kind == _REGEX:
        return SaidTokenizer("regex", _file(options, 1), options.text(0))
    return SaidTokenizer("sentencepiece", _file(options, 0)) if kind == _SENTENCEPIECE else None


def _file(options: Table, field: Literal[0, 1]) -> str:
    return next((file.text(0) for file in options.tables(field)), "")


BUFFER: Final = "TFLITE_METADATA"
IDENTIFIER: Final = b"M001"
LARGEST_ENTRY: Final = 4 << 20
MOST_ENTRIES: Final = 1000
LARGEST_DIRECTORY: Final = 1 << 20
_END: Final = struct.Struct("<10xHI6x")
"""The end record of an archive: number of entries in total, and bytes of the directory."""
_LOCATOR_SIZE: Final = 20
ULTRALYTICS: Final = ("temp_meta.txt", "metadata.json", "TFLITE_ULTRALYTICS_METADATA.json")
_IMAGE, _AUDIO, _NORMALIZATION, _AXIS_LABELS, _VALUE_LABELS = 2, 4, 1, 2, 3
# Errors that zipfile raises for invalid archives in addition to its own, because it unpacks and seeks before it checks.
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    OverflowError,
    struct.error,
)
_COLORS: Final[Mapping[int, Color]] = {1: "rgb", 2: "gray"}


@dataclass(frozen=True, slots=True)
class Normalization:
    """``real = (value of 0..255 - mean) / std``: one number for all channels, or one for each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """A waveform input with this sample rate and number of channels; 0 means unknown."""

    rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """All metadata of a file; empty fields if the file has none. ``task`` uses Ultralytics' name for the task.

    ``labels_from`` names the entry from which the labels were read. If these labels are unusable, ``labels_fault`` is
    the reason; this matters only if no other labels are given. ``entries`` lists the files in the appended archive.
    ``keypoints`` is the number of keypoints per body; 0 means unknown.
    """

    name: str = ""
    version: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    labels_from: str = ""
    labels_fault: str = ""
    normalization: Normalization | None = None
    color: Color | None = None
    tokenizer: SaidTokenizer | None = None
    sound: Sound | None = None
    ultralytics: bool = False
    task: str = ""
    keypoints: int = 0
    entries: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def read_metadata(data: bytes, buffers: Mapping[str, bytes]) -> Metadata:
    """Return the metadata of a file from its bytes and its graph's buffers; raises `ModelError` if it is damaged."""
    archive = _archive(data)
    entries = tuple(archive.namelist()) if archive else ()
    if archive and (name := next((entry for entry in ULTRALYTICS if entry in entries), None)):
        return _ultralytics(_entry(archive, name), name, entries)
    if BUFFER in buffers:
        return _tflite(Table.root(buffers[BUFFER], IDENTIFIER), archive, entries)
    return Metadata(entries=entries)


def packed_file(data: bytes, name: str) -> bytes:
    """Return a file from the archive at the end of a model's bytes; raises `ModelError`."""
    archive = _archive(data)
    if archive is None:
        raise ModelError(f"the metadata in the file names {name}, but the file contains no archive")
    return _entry(archive, name)


def _archive(data: bytes) -> zipfile.ZipFile | None:
    tail = data[-(1 << 16) - _END.size :]
    begin = tail.rfind(b"PK\5\6")
    if begin < 0:
        return None
    try:
        _check_directory(tail, begin)
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_ERRORS as error:
        raise ModelError(f"the archive at the end of the file is damaged: {error}") from error
    return archive


def _check_directory(tail: bytes, begin: int) -> None:
    """Raise `ModelError` if the directory of the archive is too large: its entries take ten times as much memory.

    ``begin`` is the position of the end record (APPNOTE.TXT 4.3.16). A larger archive has a locator (4.3.15) before it.
    """
    if tail[max(0, begin - _LOCATOR_SIZE) : begin].startswith(b"PK\6\7"):
        raise ModelError("the archive inside the file has the format for more than 65,535 entries (ZIP64)")
    entries, size = _END.unpack_from(tail, begin)
    if entries > MOST_ENTRIES:
        raise ModelError(f"the archive inside the file has more than {MOST_ENTRIES} entries")
    if size > LARGEST_DIRECTORY:
        raise ModelError(f"the directory of the archive inside the file is larger than {LARGEST_DIRECTORY} bytes")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as stream:
            content = stream.read(LARGEST_ENTRY + 1)
    except _ZIP_ERRORS as error:
        raise ModelError(f"{name} inside the file cannot be read: {error}") from error
    if len(content) > LARGEST_ENTRY:
        raise ModelError(f"{name} inside the file is larger than {LARGEST_ENTRY} bytes")
    return content


def _tflite(model: Table, archive: zipfile.ZipFile | None, entries: tuple[str, ...]) -> Metadata:
    graphs = model.tables(3)
    inputs = graphs[0].tables(2) if graphs else ()
    outputs = graphs[0].tables(3) if graphs else ()
    name = next((name for output in outputs for name in _label_files(output)), "")
    labels, fault = _labels(archive, name) if archive and name in entries else ((), "")
    return Metadata(
        name=model.text(0),
        version=model.text(2),
        description=model.text(1),
        author=model.text(4),
        licence=model.text(5),
        labels=labels,
        labels_from=name if labels or fault else "",
        labels_fault=fault,
        normalization=_normalization(inputs[0]) if inputs else None,
        color=_color(inputs[0]) if inputs else None,
        sound=_sound(inputs[0]) if inputs else None,
        tokenizer=said_tokenizer(graphs[0]) if graphs else None,
        entries=entries,
        facts=_tensor_facts(inputs, outputs),
    )


def _labels(archive: zipfile.ZipFile, name: str) -> tuple[tuple[str, ...], str]:
    try:
        return parse_labels(_entry(archive, name), f"{name} inside the file"), ""
    except ModelError as error:
        return (), str(error)


def _label_files(tensor: Table) -> list[str]:
    files = tensor.tables(6)
    return [file.text(0) for file in files if file.number(2, "b") in (_AXIS_LABELS, _VALUE_LABELS)]


def _normalization(tensor: Table) -> Normalization | None:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.number(0, "B") == _NORMALIZATION and options:
            mean, std = options.numbers(0, "f"), options.numbers(1, "f")
            if not mean or not std:
                return None
            if not all(map(math.isfinite, (*mean, *std))) or not all(value > 0 for value in std):
                raise ModelError("the metadata in the file is damaged: its normalization divides by 0 or less")
            return Normalization(tuple(mean), tuple(std))
    return None


def _color(tensor: Table) -> Color | None:
    content = tensor.table(3)
    properties = content.table(1) if content else None
    if content is None or properties is None or content.number(0, "B") != _IMAGE:
        return None
    return _COLORS.get(properties.number(0, "b"))


def _sound(tensor: Table) -> Sound | None:
    content = tensor.table(3)
    properties = content.table(1) if content else None
    if content is None or properties is None or content.number(0, "B") != _AUDIO:
        return None
    return Sound(properties.number(0, "I"), properties.number(1, "I"))


def _tensor_facts(inputs: tuple[Table, ...], outputs: tuple[Table, ...]) -> dict[str, str]:
    pairs = [
        (kind, index, table)
        for kind, found in (("input", inputs), ("output", outputs))
        for index, table in enumerate(found)
    ]
    return {f"{kind} {index}": text for kind, index, table in pairs if (text := _described(table))}


def _described(tensor: Table) -> str:
    return ": ".join(text for text in (tensor.text(0), tensor.text(1)) if text)


def _ultralytics(content: bytes, name: str, entries: tuple[str, ...]) -> Metadata:
    facts = _mapping(content, name)
    labels, fault = _names(facts["names"], name) if "names" in facts else ((), "")
    return Metadata(
        name="Ultralytics",
        version=str(facts.get("version", "")),
        description=str(facts.get("description", "")),
        author=str(facts.get("author", "")),
        licence=str(facts.get("license", "")),
        labels=labels,
        labels_from=name if labels or fault else "",
        labels_fault=fault,
        ultralytics=True,
        task=str(facts.get("task", "")),
        keypoints=_keypoints(facts.get("kpt_shape")),
        entries=entries,
        facts={key: str(facts[key]) for key in ("imgsz", "stride") if key in facts},
    )


def _keypoints(shape: Any) -> int:
    """Return the first number of ``[keypoints, numbers]``, or 0."""
    return shape[0] if isinstance(shape, (list, tuple)) and shape and type(shape[0]) is int and shape[0] > 0 else 0


def _mapping(content: bytes, name: str) -> dict[str, Any]:
    try:
        text = content.decode()
        facts = json.loads(text) if name.endswith(".json") else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ModelError(f"{name} inside the file cannot be read: {type(error).__name__}") from error
    if not isinstance(facts, dict):
        raise ModelError(f"{name} inside the file is not a mapping")
    return {str(key): value for key, value in facts.items()}


def _names(names: Any, name: str) -> tuple[tuple[str, ...], str]:
    """Return the labels by class id, and the fault if they are invalid. In JSON the class ids are texts."""
    where = f"{name} inside the file"
    if not isinstance(names, (list, dict)):
        return (), f"{where}: names is neither a list nor a mapping"
    pairs = enumerate(names) if isinstance(names, list) else names.items()
    by_id = {str(key): str(label) for key, label in pairs}
    ids = [str(number) for number in range(len(by_id))]
    if set(ids) != set(by_id):
        return (), f"{where}: names do not count from 0 to {len(by_id) - 1}"
    try:
        return check_labels(tuple(by_id[number] for number in ids), where), ""
    except ModelError as error:
        return (), str(error)
