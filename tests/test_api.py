"""The Python API: the same records as ``edge-infer infer``, for files and for what a program has in memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import edge_infer
from edge_infer import load
from edge_infer.contract.codec import ABSENT, decode, replace
from edge_infer.contract.messages import Result
from edge_infer.engine.input.recording import read_recording
from edge_infer.errors import InputError, ModelError
from edge_infer.plan.records import SignalPlan
from tests.engine.sounds import MACHINE, put

SHIPPED = Path(__file__).parents[1] / "models" / "face-detect" / "1.0.0"
ASTRONAUT = SHIPPED / "golden" / "astronaut.png"
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture has to be turned."""
MOODS = "nl_classifier_with_regex_tokenizer.tflite"


def bare(result: Result) -> Result:
    """Without what differs from run to run."""
    return replace(result, ts="2026-01-01T00:00:00.000Z", boot="000000", seq=1, ms=0.0)


def test_a_picture_gives_what_infer_prints() -> None:
    line = [sys.executable, "-m", "edge_infer", "infer", str(SHIPPED), str(ASTRONAUT)]
    printed = json.loads(subprocess.run(line, capture_output=True, text=True, timeout=120, check=True).stdout)
    printed.pop("input")
    with load(SHIPPED) as model:
        found = model(ASTRONAUT)
        assert bare(found) == bare(decode(Result, printed))
        pixels = cv2.imread(str(ASTRONAUT))
        assert pixels is not None
        for same in (model(str(ASTRONAUT)), model(pixels), model(pixels[:, :, ::-1], color="rgb")):
            assert bare(same) == bare(found)
        assert [found.seq, model(pixels).seq] == [1, 5]
        assert found.objects is not ABSENT
        assert [thing.label for thing in found.objects] == ["face"]
        gray = model(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
        assert gray.objects is not ABSENT
        assert len(gray.objects) == 1
    model.close()


def test_what_is_given_wins_and_records_do_not_change() -> None:
    with load(SHIPPED, threshold=0.99, labels=["person"]) as model:
        assert model.plan.labels == ("person",)
        found = model(ASTRONAUT)
    assert found.objects == ()
    with pytest.raises(AttributeError, match="immutable"):
        found.seq = 7  # type: ignore[misc]


def test_a_text_and_a_file_of_texts(assets: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("What a waste of my time.\n\nStrongly recommend it!\n")
    with load(assets / "models" / MOODS, threshold=0.0) as model:
        found = model("What a waste of my time.")
        assert found.classes is not ABSENT
        assert (found.classes[0].label, found.classes[0].score) == ("Negative", 0.813)
        results = list(model.each(path))
        assert [bare(result) for result in results[:1]] == [bare(found)]
        assert len(results) == 2
        with pytest.raises(InputError, match="takes text: pass a str"):
            model(path)


def test_samples_and_a_recording(assets: Path, tmp_path: Path) -> None:
    speech = assets / "audio" / "speech.wav"
    with load(assets / "models" / "yamnet_audio_classifier_with_metadata.tflite") as model:
        found = model(speech)
        assert found.classes is not ABSENT
        assert found.classes[0].label == "Speech"
        signal = model.plan.input
        assert isinstance(signal, SignalPlan)
        values = np.concatenate([stretch.values for stretch in read_recording(str(speech), signal)])
        assert bare(model(values[:, 0], rate=16000)) == bare(found)
        with wave.open(str(speech)) as recording:
            whole = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
        assert bare(model(whole, rate=16000)) == bare(found)
        np.save(tmp_path / "speech.npy", whole)
        assert bare(model(tmp_path / "speech.npy")) == bare(found)
        with pytest.raises(InputError, match="sound of int64 has no full scale"):
            model(whole.astype(np.int64), rate=16000)
        with pytest.raises(InputError, match="too short"):
            model(values[:10])
        with pytest.raises(InputError, match="float is not a signal"):
            model(3.0)
        with pytest.raises(InputError, match=r"\[2, 2, 2\] of float64 is not a signal"):
            model(np.zeros((2, 2, 2)))


@pytest.mark.parametrize(
    ("array", "color", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), None, r"\[4, 4, 3\] of float32 is not a picture"),
        (np.zeros((4, 4, 4), np.uint8), None, "is not a picture"),
        (np.zeros((0, 4, 3), np.uint8), None, "is not a picture"),
        (np.zeros(5, np.uint8), None, "is not a picture"),
        (3, None, r"^int is not a picture; expected a file, an array \[height, width, 3\] or one of Pillow"),
        (None, None, "^NoneType is not a picture"),
        (np.zeros((4, 4), np.uint8), "rgb", "color='rgb' does not fit"),
        (np.zeros((4, 4), np.uint8), "gray", None),
        (np.zeros((4, 4, 3), np.uint8), "gray", "color='gray' does not fit"),
    ],
)
def test_what_is_no_picture_is_told(array: Any, color: str | None, said: str | None) -> None:
    with load(SHIPPED) as model:
        if said is None:
            assert model(array, color=color).objects == ()  # type: ignore[arg-type]
            return
        with pytest.raises(InputError, match=said):
            model(array, color=color)  # type: ignore[arg-type]


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no .*gone\.tflite"):
        load(tmp_path / "gone.tflite")
    with load(SHIPPED) as model, pytest.raises(InputError, match=r"gone\.png: No such file"):
        model(tmp_path / "gone.png")


def test_the_package_alone_brings_neither_numpy_nor_pydantic() -> None:
    code = (
        "import sys, edge_infer; assert edge_infer.__version__; "
        "print([name for name in ('numpy', 'cv2', 'pydantic', 'yaml', 'socket') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = edge_infer.lod


def test_labels_may_be_a_file(tmp_path: Path) -> None:
    """A string names one; it is no list of letters."""
    (tmp_path / "labels.txt").write_text("visage\n")
    with load(SHIPPED, labels=str(tmp_path / "labels.txt")) as model:
        assert model.plan.labels == ("visage",)
    with pytest.raises(ModelError, match=r"np"):
        load(SHIPPED, labels="np")


@pytest.mark.parametrize("labels", [[], [1, 2], {"face"}, b"face", 3])
def test_what_are_no_labels_is_told(labels: Any) -> None:
    with pytest.raises(ModelError, match=r"^labels=.* is not allowed; expected a list of str, or a file with one on"):
        load(SHIPPED, labels=labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a" * 300], "label 0: a label of 300 characters is too long; the limit is 128"),
        (["a", ""], "label 1 is empty; write ??? for a class without a name"),
        (["a\n"], "label 0: 'a\\n' contains characters that are not allowed in a label"),
        (["a"] * 20_001, "20001 labels are more than 20000"),
    ],
)
def test_a_label_that_cannot_be_is_named(labels: list[str], words: str) -> None:
    with pytest.raises(ModelError, match=f"^labels: {re.escape(words)}"):
        load(SHIPPED, labels=labels)


@pytest.mark.parametrize(
    ("argument", "values", "expected"),
    [
        ("threshold", [float("nan"), float("inf"), -0.1, "0.5", True], "a number of 0 or more"),
        ("task", ["detect", 3, ["detection"]], "one of .*detection"),
        ("decoder", ["blaceface", 5, ""], "one of .*blazeface"),
        ("threads", [0, -1, "2", 1.5, True, None, 65, 99999], "a whole number, from 1 to 64"),
        ("max_payload", [511, 10, 0, -5, "1K", 1024.0, True, None], "a whole number, 512 or more"),
    ],
)
def test_a_wrong_argument_is_told(argument: str, values: list[Any], expected: str) -> None:
    for value in values:
        words = f"^{re.escape(f'{argument}={value!r}')} is not allowed; expected {expected}"
        with pytest.raises(ModelError, match=words):
            load(SHIPPED, **{argument: value})


def test_the_task_decides_how_large_a_threshold_may_be(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"threshold 1\.5 is not between 0 and 1"):
        load(SHIPPED, threshold=1.5)
    with load(put(assets, tmp_path, MACHINE), threshold=12) as model:
        assert model.plan.threshold == 12.0


def test_numbers_of_numpy_are_numbers() -> None:
    with load(SHIPPED, threshold=np.float32(0.5)) as model:  # type: ignore[arg-type]
        assert model.plan.threshold == 0.5


def test_what_is_no_rate_is_told(assets: Path) -> None:
    sound = np.zeros(16000, np.float32)
    with load(assets / "models" / "yamnet_audio_classifier_with_metadata.tflite") as model:
        assert model(sound, rate=np.float32(16000)).classes is not ABSENT  # type: ignore[arg-type]
        for rate in (0, -1, float("nan"), float("inf"), "16k", True):
            with pytest.raises(
                InputError, match=r"^rate=.* is not allowed; expected samples a second, a number above 0"
            ):
                model(sound, rate=rate)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"^samples: .*0\.5 samples a second; that cannot be resampled to 16000"):
            model(sound, rate=0.5)


def test_a_picture_of_pillow_has_its_own_order() -> None:
    pixels = cv2.imread(str(ASTRONAUT))
    assert pixels is not None
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    with load(SHIPPED) as model:
        assert bare(model(picture)) == bare(model(pixels))
        with pytest.raises(InputError, match="its order is rgb"):
            model(picture, color="bgr")
        gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        assert bare(model(Image.fromarray(gray))) == bare(model(gray))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_of_pillow_is_turned_as_its_file_is(tmp_path: Path, turn: int) -> None:
    with Image.open(ASTRONAUT) as picture:
        notes = picture.getexif()
        notes[ORIENTATION] = turn
        picture.save(tmp_path / "turned.png", exif=notes)
    with load(SHIPPED, threshold=0.1) as model, Image.open(tmp_path / "turned.png") as turned:
        assert bare(model(turned)) == bare(model(tmp_path / "turned.png"))


def test_a_picture_of_pillow_in_the_colours_of_print_is_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    with Image.open(ASTRONAUT) as picture:
        picture.convert("CMYK").save(path)
    with load(SHIPPED, threshold=0.1) as model, Image.open(path) as printed:
        assert printed.mode == "CMYK"
        found = model(path)
        assert found.objects
        assert bare(model(printed)) == bare(found)


def test_whole_numbers_of_numpy_are_numbers() -> None:
    with load(SHIPPED, threads=np.int64(2), max_payload=np.int64(1024)) as model:  # type: ignore[arg-type]
        assert model(ASTRONAUT).objects


def test_a_gray_picture_of_pillow_of_16_bits_is_as_its_file(tmp_path: Path) -> None:
    gray = cv2.imread(str(ASTRONAUT), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    deep = gray.astype(np.uint16) * 257
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), deep)
    with load(SHIPPED) as model, Image.open(path) as picture:
        found = model(path)
        assert found.objects
        for same in (picture, Image.fromarray(deep.astype(">u2")), Image.fromarray(deep.astype(np.int32))):
            assert bare(model(same)) == bare(found), same.mode
        for wrong in (-1, 1 << 16):
            with pytest.raises(InputError, match="has values beyond 16 bits"):
                model(Image.fromarray(np.full((4, 4), wrong, np.int32)))


def test_what_does_not_belong_to_an_input_is_refused() -> None:
    with load(SHIPPED) as model:
        with pytest.raises(InputError, match="color='hsv' is not allowed; expected one of"):
            model(np.zeros((4, 4, 3), np.uint8), color="hsv")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="rate= is for sound"):
            model(np.zeros((4, 4, 3), np.uint8), rate=16000)
    for call in (lambda: model(ASTRONAUT), lambda: list(model.each(ASTRONAUT))):
        with pytest.raises(ModelError, match="this model is closed"):
            call()


@pytest.mark.parametrize("number", [1, 2])
def test_the_examples_of_the_page_pass_a_strict_type_checker(tmp_path: Path, number: int) -> None:
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    (tmp_path / "example.py").write_text(page.split("```python\n")[number].partition("```")[0])
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(tmp_path / "cache"),
        "example.py",
    ]
    environment = {**os.environ, "MYPYPATH": str(Path(__file__).parents[1])}  # editable installs are not followed
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
