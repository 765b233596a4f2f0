"""What the maker of a model wrote into the file."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.tflite.metadata import LARGEST_ENTRY, Metadata, Normalization, read_metadata


def read(path: Path) -> Metadata:
    data = path.read_bytes()
    return read_metadata(data, Graph.read(data).metadata)


def with_entry(path: Path, name: str, content: bytes) -> bytes:
    """The bytes of a model with one more archive entry appended, as converters do it."""
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def test_tflite_metadata_names_labels_normalization_and_colour(assets: Path) -> None:
    found = read(assets / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    assert found.name == "Coco SSD MobileNetV1"
    assert found.labels_from == "labelmap.txt"
    assert (len(found.labels), found.labels[0], found.labels[11], found.labels[89]) == (
        90,
        "person",
        "???",
        "toothbrush",
    )
    assert found.normalization == Normalization((127.5,), (127.5,))
    assert found.color == "rgb"
    assert not found.ultralytics


def test_background_is_a_label_like_others(assets: Path) -> None:
    found = read(assets / "models" / "mobilenet_v2_1.0_224_quant.tflite")
    assert len(found.labels) == 1001
    assert found.labels[:2] == ("background", "tench, Tinca tinca")


def test_a_vocabulary_is_not_taken_for_labels(assets: Path) -> None:
    found = read(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite")
    assert found.labels == ("Negative", "Positive")
    assert found.entries == ("vocab.txt", "labels.txt")


def test_ultralytics_metadata_names_task_and_classes(assets: Path) -> None:
    found = read(assets / "models" / "yolov8n_full_integer_quant_224.tflite")
    assert found.ultralytics
    assert found.task == "detect"
    assert (len(found.labels), found.labels[79]) == (80, "toothbrush")
    assert found.facts == {"imgsz": "[224, 224]", "stride": "32"}


def test_a_file_that_says_nothing_gives_nothing(assets: Path) -> None:
    assert read(assets / "models" / "vww_96_int8.tflite") == Metadata()


def test_newer_ultralytics_files_carry_json(assets: Path) -> None:
    facts = {"task": "classify", "names": {"1": "dog", "0": "cat"}, "version": "8.4"}
    data = with_entry(assets / "models" / "vww_96_int8.tflite", "metadata.json", json.dumps(facts).encode())
    found = read_metadata(data, {})
    assert (found.task, found.labels, found.version) == ("classify", ("cat", "dog"), "8.4")
    assert found.keypoints == 0


@pytest.mark.parametrize(("shape", "keypoints"), [([21, 3], 21), ([], 0), (["17"], 0), ([True], 0), (17, 0), ([-1], 0)])
def test_ultralytics_metadata_counts_keypoints(assets: Path, shape: object, keypoints: int) -> None:
    facts = {"task": "pose", "names": {"0": "hand"}, "kpt_shape": shape}
    data = with_entry(assets / "models" / "vww_96_int8.tflite", "metadata.json", json.dumps(facts).encode())
    assert read_metadata(data, {}).keypoints == keypoints


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{'names': __import__('os').system('false')}", "cannot be read: ValueError"),
        (b"(" * 100_000, "cannot be read"),
        (b"[1, 2]", "is not a mapping"),
        (b"\xff\xfe", "cannot be read: UnicodeDecodeError"),
        (b"{'a': " + b"-" * 50_000 + b"1}", "cannot be read"),
        (b"0" * (LARGEST_ENTRY + 1), "is larger than"),
    ],
)
def test_hostile_ultralytics_metadata_is_refused(assets: Path, content: bytes, words: str) -> None:
    data = with_entry(assets / "models" / "vww_96_int8.tflite", "temp_meta.txt", content)
    with pytest.raises(ModelError, match=words):
        read_metadata(data, {})


DIRECTORY_ENTRY = struct.Struct("<IHHHHHHIIIHHHHHII")


def with_directory(entries: int, name: bytes, *, zip64: bool = False) -> bytes:
    """The bytes of a model with an archive of so many empty entries."""
    entry = DIRECTORY_ENTRY.pack(0x02014B50, 20, 20, *(0,) * 7, len(name), *(0,) * 6) + name
    directory = entry * entries
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, entries & 0xFFFF, entries & 0xFFFF, len(directory), 4, 0)
    if zip64:
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        large = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, entries, entries, len(directory), 4)
        end = large + struct.pack("<IIQI", 0x07064B50, 0, 4 + len(directory), 1) + end
    return b"TFL3" + directory + end


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_directory(200_000, b"x", zip64=True), "ZIP64"),
        (with_directory(60_000, b"x"), "more than 1000 entries"),
        (with_directory(65_536 + 900, b"x"), "larger than 1048576 bytes"),  # a count that does not fit its field
        (with_directory(900, b"x")[:-9], "is damaged"),
    ],
)
def test_a_large_directory_is_refused_before_it_takes_memory(data: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=words):
            read_metadata(data, {})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(read_metadata(with_directory(900, b"x"), {}).entries) == 900


@pytest.mark.parametrize("names", ["{0: 'a', 2: 'b'}", "7", "{0: 'a', 1: ''}"])
def test_class_names_with_gaps_are_a_fault_that_other_labels_can_mend(assets: Path, names: str) -> None:
    data = with_entry(assets / "models" / "vww_96_int8.tflite", "temp_meta.txt", f"{{'names': {names}}}".encode())
    found = read_metadata(data, {})
    assert found.labels == ()
    assert found.labels_fault.startswith("temp_meta.txt inside the file")
