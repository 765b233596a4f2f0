from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_infer.cli import main
from edge_infer.contract.codec import decode
from edge_infer.contract.messages import Result
from tests.default_acl import mode, share_new_files
from tests.running import MODEL as SHIPPED

FACES = "derived_blazeface_full_range_192_int8.tflite"


def infer(*words: object) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, the objects on standard output and the text on standard error."""
    command = [sys.executable, "-m", "edge_infer", "infer", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("face\n")
    return path


def test_a_program_that_calls_the_command_keeps_its_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert (
            main(
                [
                    "infer",
                    str(SHIPPED),
                    str(SHIPPED.parent / "golden" / "astronaut.png"),
                    "--annotate",
                    str(tmp_path / "out"),
                ]
            )
            == 0
        )
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_one_result_a_picture_with_its_input(assets: Path, labels: Path) -> None:
    pictures = [assets / "images" / name for name in ("astronaut.png", "cat.bmp")]
    code, found, said = infer(assets / "models" / FACES, *pictures, "--labels", labels)
    assert (code, said) == (0, "")
    assert [item.pop("input") for item in found] == list(map(str, pictures))
    results = [decode(Result, item) for item in found]
    assert [len(result.objects or ()) for result in results] == [1, 0]  # type: ignore[arg-type]
    assert [result.seq for result in results] == [1, 2]
    assert found[0]["objects"][0]["label"] == "face"
    assert found[0]["sha"] == "eac9143a"


def test_wrong_pictures_are_told_and_the_others_are_done(assets: Path, labels: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jpg"
    wrong.write_text("nothing to see")
    good = assets / "images" / "astronaut.png"
    code, found, errors = infer(assets / "models" / FACES, tmp_path / "gone.png", wrong, good, "--labels", labels)
    assert code == 1
    assert [item["input"] for item in found] == [str(good)]
    told = [line for line in errors.splitlines() if line.startswith("edge-infer: ")]
    assert [line.split(": ")[1] for line in told] == [str(tmp_path / "gone.png"), str(wrong)]


def test_a_picture_whose_name_is_no_text_is_done_like_the_others(assets: Path, labels: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((assets / "images" / "astronaut.png").read_bytes())
    code, found, _ = infer(assets / "models" / FACES, os.fsdecode(odd), "--labels", labels)
    assert code == 0
    assert [item["input"] for item in found] == [f"{tmp_path}/caf\\udce9.png"]


def test_annotated_pictures_are_written_even_for_equal_names(assets: Path, labels: Path, tmp_path: Path) -> None:
    copy = tmp_path / "astronaut.png"
    copy.write_bytes((assets / "images" / "astronaut.png").read_bytes())
    folder = tmp_path / "seen" / "today"
    words = (assets / "models" / FACES, assets / "images" / "astronaut.png", copy, "--labels", labels)
    assert infer(*words, "--annotate", folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["astronaut-2.jpg", "astronaut.jpg"]
    drawn, plain = cv2.imread(str(folder / "astronaut.jpg")), cv2.imread(str(copy))
    assert drawn.shape == plain.shape
    assert cv2.absdiff(drawn, plain).max() > 100


def test_annotated_pictures_are_private_even_in_a_folder_that_shares_new_files(tmp_path: Path) -> None:
    share_new_files(tmp_path)
    (tmp_path / "control").touch(0o666)
    assert mode(tmp_path / "control") == 0o664
    assert infer(SHIPPED, SHIPPED.parent / "golden" / "astronaut.png", "--annotate", tmp_path / "out")[0] == 0
    assert mode(tmp_path / "out" / "astronaut.jpg") == 0o600


def test_classes_with_labels_from_a_file(assets: Path) -> None:
    model = assets / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    burger = assets / "images" / "burger.jpg"
    code, found, _ = infer(model, burger, "--labels", assets / "labels" / "imagenet_labels.txt", "--threshold", "0.01")
    assert code == 0
    assert found[0]["classes"][0]["label"] == "cheeseburger"
    assert 1 <= len(found[0]["classes"]) <= 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--threshold", "-1.5"), 2, "'-1.5' is not a number from 0 to 1"),
        (("--task", "poetry"), 2, "invalid choice"),
        (("--decoder", "yolov8"), 2, "a YOLOv8 head is one output"),
        (("--decoder", "nonsense"), 2, "known: classification"),
        (("--labels", "/nowhere/labels.txt"), 2, "/nowhere/labels.txt cannot be read"),
        (("--labels", "/etc/passwd"), 2, " for 1 classes"),
        (("--threshold", "5"), 2, "threshold 5 is not between 0 and 1"),
        (("--task", "pose"), 2, "no decoder for pose (asked for) recognises it"),
        (("--task", "classification"), 2, "a classifier has one output"),
        (("--task", "anomaly"), 2, "the distance from which a frame is anomalous is unknown"),
        (("--annotate", "/proc/nowhere"), 2, "--annotate /proc/nowhere: cannot be used as a folder"),
    ],
)
def test_wrong_usage_is_told(assets: Path, words: tuple[str, ...], code: int, said: str) -> None:
    found = infer(assets / "models" / FACES, assets / "images" / "astronaut.png", *words)
    assert found[:2] == (code, [])
    assert said in found[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/person_detect.tflite", "quantization dimension of 3"),
        ("models/keras_lstm_mnist_ptq.tflite", "no decoder recognises it"),
        ("ASSETS.md", "not a TFLite model"),
        ("models/gone.tflite", "there is no"),
    ],
)
def test_models_that_cannot_be_used_are_told_in_one_line(assets: Path, name: str, said: str) -> None:
    code, found, errors = infer(assets / name, assets / "images" / "astronaut.png")
    assert (code, found) == (3, [])
    told = [line for line in errors.splitlines() if line.startswith("edge-infer: ")]
    assert len(told) == 1
    assert said in told[0]
