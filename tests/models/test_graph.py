"""TFLite files are read without a runtime, and whatever the bytes are, the worst is a `ModelError`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_infer.engine.interpreter import Interpreter
from edge_infer.errors import ModelError
from edge_infer.models.tflite.flatbuffer import Table
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.tflite.metadata import read_metadata

BAD = "person_detect.tflite"


def files(assets: Path) -> list[Path]:
    found = sorted((assets / "models").glob("*.tflite"))
    assert len(found) >= 27
    return found


def read_all(data: bytes) -> None:
    """Everything that is ever read of a file that nobody vouches for."""
    graph = Graph.read(data)
    graph.faults()
    graph.counts()
    graph.weights()
    for output in graph.outputs:
        graph.made_by(output)
    read_metadata(data, graph.metadata)


def refusal(data: bytes) -> str | None:
    """Why a file is refused; None when it is read."""
    try:
        read_all(data)
    except ModelError as error:
        return str(error)
    return None


def test_inputs_outputs_and_operators_are_those_that_the_runtime_sees(assets: Path) -> None:
    for path in files(assets):
        graph = Graph.read(path.read_bytes())
        if path.name == BAD:
            continue
        interpreter = Interpreter(str(path))
        for ours, theirs in [(graph.inputs, interpreter.inputs), (graph.outputs, interpreter.outputs)]:
            assert [tensor.index for tensor in ours] == [tensor.index for tensor in theirs]
            assert [tensor.name for tensor in ours] == [tensor.name for tensor in theirs]
            assert [tensor.dtype for tensor in ours] == [tensor.dtype for tensor in theirs]
            assert [tensor.scale for tensor in ours] == [tensor.scale for tensor in theirs]
            assert [tensor.zero_point for tensor in ours] == [tensor.zero_point for tensor in theirs]
            for our, their in zip(ours, theirs, strict=True):
                assert our.shape in ((), their.shape)  # a post-processing operator decides its shapes when it runs
        theirs_named = [name for name in interpreter.operators() if name != "DELEGATE"]
        assert [operator.name for operator in graph.operators] == theirs_named[: len(graph.operators)]
        interpreter.close()


def test_what_a_runtime_refuses_is_named(assets: Path) -> None:
    graph = Graph.read((assets / "models" / BAD).read_bytes())
    assert graph.faults()[0].startswith("tensor 33 (MobilenetV1/MobilenetV1/Conv2d_0/Conv2D_bias) has a quantization")
    assert all(not Graph.read(path.read_bytes()).faults() for path in files(assets) if path.name != BAD)


def test_custom_operators_have_their_own_names(assets: Path) -> None:
    graph = Graph.read((assets / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite").read_bytes())
    assert graph.custom() == ("TFLite_Detection_PostProcess",)
    assert graph.counts()[0] == ("CONV_2D", 34)


def test_the_maker_of_an_output_is_seen_through_changes_of_form(assets: Path) -> None:
    graph = Graph.read((assets / "models" / "gmp_wl_24_int8.tflite").read_bytes())
    maker = graph.made_by(graph.outputs[0])  # behind a DEQUANTIZE
    assert maker is not None
    assert maker.name == "SOFTMAX"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"this is a note about a model\n" * 9, "it is a text file"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "Keras"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (bytes(range(256)), r"bytes 4 to 8 are b'\\x04\\x05\\x06\\x07' instead of b'TFL3'"),
        (b"\x10\x00\x00\x00TFL3", "damaged or cut off"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "damaged or cut off"),
    ],
)
def test_what_is_no_model_is_told_by_what_it_looks_like(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Graph.read(data)


def test_every_truncation_is_noticed_or_harmless(assets: Path) -> None:
    data = (assets / "models" / "hello_world_int8.tflite").read_bytes()
    refused = [length for length in range(len(data)) if refusal(data[:length])]
    assert len(refused) > len(data) * 0.9


def test_lists_that_overlap_cannot_cost_more_than_a_bound() -> None:
    count = 3_000_000
    vtable = (6).to_bytes(2, "little") + (8).to_bytes(2, "little") + (4).to_bytes(2, "little") + bytes(2)
    root = (8).to_bytes(4, "little") + (4).to_bytes(4, "little")  # back to the vtable; the list begins 4 bytes on
    data = (16).to_bytes(4, "little") + b"TEST" + vtable + root + count.to_bytes(4, "little") + bytes(4 * count)
    table = Table.root(data, b"TEST")
    assert len(table.numbers(0, "I")) == count
    with pytest.raises(ModelError, match="more than 4000000 items"):
        table.numbers(0, "I")


# The families of files that matter: with and without archive, custom operators, variables, metadata.
NAMES = ("hello_world_int8", "gmp_wl_24_int8", "mww_alexa", "nl_classifier_with_regex_tokenizer", "kws_ref_model")


@pytest.mark.long
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    name=st.sampled_from(NAMES),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=12),
    ends=st.booleans(),
    cut=st.floats(0, 1),
)
def test_mutated_models_never_raise_anything_else(
    assets: Path, name: str, edits: list[tuple[float, bytes]], ends: bool, cut: float
) -> None:
    data = bytearray((assets / "models" / f"{name}.tflite").read_bytes())
    for place, change in edits:  # tables lie near both ends of a file, weights between
        at = int(place * min(len(data), 8000))
        at = len(data) - 1 - at if ends else at
        data[at : at + len(change)] = change
    assert refusal(bytes(data if cut > 0.3 else data[: int(len(data) * cut * 3)])) != ""


@given(data=st.binary(max_size=300))
def test_random_bytes_behind_the_identifier_never_raise_anything_else(data: bytes) -> None:
    for content in (data, data[:4].ljust(4, b"\0") + b"TFL3" + data[4:]):
        assert refusal(content)


@pytest.mark.long
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(1, 900), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_archives_never_raise_anything_else(assets: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray((assets / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite").read_bytes())
    assert zipfile.is_zipfile(assets / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    for back, value in edits:
        data[-back] = value
    assert refusal(bytes(data)) != ""
