"""The bench runs what it says, on real models; its figures are for people, and here only their sense is looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.bench.measure import Spread
from edge_infer.cli import main
from edge_infer.engine.interpreter import Interpreter, Step, left_alone
from tests.engine.sounds import JOGGING, WAKE_WORD, put

FACES = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
QUICK = ("--seconds", "1", "--rounds", "2", "--frame", "320x240", "--json")


def measured(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["bench", *words]) == 0
    return dict(json.loads(capsys.readouterr().out))


def check(found: dict[str, object], frame: str) -> None:
    """Both sides ran, the stages add up to something, and quartiles are in order."""
    for key in ("bare", "pipeline", "ratio"):
        spread = found[key]
        assert isinstance(spread, dict)
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    assert found["frame"] == frame
    stages = found["stages"]
    assert isinstance(stages, dict)
    assert list(stages) == ["capture", "preprocess", "wait", "invoke", "decode", "after", "hand-over"]
    assert all(seconds > 0 for seconds in stages.values())
    assert isinstance(found["pss"], int)
    assert found["pss"] > 10 << 20
    assert found["bare_cpu"] > 0  # type: ignore[operator]
    assert found["pipeline_cpu"] > 0  # type: ignore[operator]


def test_the_shipped_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, str(FACES), *QUICK)
    check(found, "320x240")
    assert found["model"] == "face-detect@1.0.0"
    assert len(found["not_delegated"]) < found["operators"]  # type: ignore[arg-type, operator]
    assert "1" in found["threads"]  # type: ignore[operator]


def test_what_is_measured_leaves_the_cores_to_the_model_as_the_engine_does(capsys: pytest.CaptureFixture[str]) -> None:
    threads, switch = cv2.getNumThreads(), sys.getswitchinterval()
    try:
        cv2.setNumThreads(2)
        measured(capsys, str(FACES), *QUICK)
        assert cv2.getNumThreads() == 1
        assert sys.getswitchinterval() < 0.001
    finally:
        cv2.setNumThreads(threads)
        sys.setswitchinterval(switch)


def test_the_pipelines_of_a_configuration_with_tiles_and_as_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {{state_dir: {tmp_path / 'state'}}}\nmqtt: {{host: 127.0.0.1}}\n"
        f"models:\n  faces: {{file: {FACES}}}\n"
        "sources:\n  hall: {kind: synthetic, size: 320x240}\n"
        "pipelines:\n  hall: {source: hall, model: faces, preprocess: {tiles: 2x1}}\n"
    )
    assert main(["bench", "-c", str(config), *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    check(found, "320x240")
    assert (found["name"], found["runs_a_frame"]) == ("hall", 2)
    assert main(["bench", "-c", str(config), *QUICK[:-1]]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^pipeline / bare +\d+\.\d{3} +\d+\.\d{3} +", out, re.MULTILINE)
    assert re.search(r"^fast path +\d+ of \d+ operators", out, re.MULTILINE)


def test_a_cascade_is_measured_though_nothing_is_found_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {{state_dir: {tmp_path / 'state'}}}\nmodels:\n  faces: {{file: {FACES}}}\n"
        "sources:\n  hall: {kind: synthetic, size: 320x240}\n"
        "pipelines:\n  closer: {source: {crops: hall, again: 2s}, model: faces}\n"
        "  hall: {source: hall, model: faces, track: true}\n"
    )
    assert main(["bench", "-c", str(config), *QUICK]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in found] == ["closer", "hall"]
    for each in found:
        check(each, "320x240")


def test_pictures_of_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for number in range(20):
        writer.write(np.full((120, 160, 3), 10 * number, np.uint8))
    writer.release()
    found = measured(capsys, str(FACES), *QUICK, "--clip", str(clip), "--publish", "every")
    check(found, "160x120 of clip.avi")
    assert found["publish"] == "every"


@pytest.mark.parametrize("name", [WAKE_WORD, JOGGING])
def test_signals(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    check(measured(capsys, str(put(assets, tmp_path, name)), *QUICK), "samples")


def test_text(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = assets / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    check(measured(capsys, str(model), *QUICK), "text")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name either a MODEL or, with -c FILE, a configuration"),
        (("x.tflite", "-c", "config.yaml"), "name either a MODEL or,"),
        (("x.tflite", "--rounds", "1"), "--rounds 2 to 100"),
        (("x.tflite", "--frame", "large"), "--frame: a picture size is WIDTHxHEIGHT"),
        (("nowhere.tflite",), r"there is no .*nowhere\.tflite"),
    ],
)
def test_what_cannot_be_measured_is_told(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str) -> None:
    assert main(["bench", *words]) != 0
    assert re.search(told, capsys.readouterr().err)


def test_what_a_delegate_has_not_taken() -> None:
    """1 -> A -> 2 -> B -> 3 -> C -> 4, of which a delegate took A and B."""
    steps = [
        Step("A", (1,), (2,)),
        Step("B", (2,), (3,)),
        Step("C", (3,), (4,)),
        Step("DELEGATE", (1,), (3,)),
    ]
    assert left_alone(steps, [4]) == ["C"]
    assert left_alone(steps[:3], [4]) == ["C", "B", "A"]
    assert left_alone(steps, [3]) == []


def test_steps_of_a_real_model_name_their_tensors() -> None:
    interpreter = Interpreter(str(next(FACES.glob("*.tflite"))))
    steps = interpreter.steps()
    assert [step.name for step in steps] == interpreter.operators()
    made = {index for step in steps for index in step.outputs}
    assert {tensor.index for tensor in interpreter.outputs} <= made
    interpreter.close()


@pytest.mark.parametrize("size", ["0x0", "0x10", "10x0", "99999x99999", "8193x10"])
def test_a_picture_of_no_or_of_any_size_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(FACES), "--frame", size]) == 2
    expected = f"--frame: {size} is not a size such as 1280x720, each side from 1 to 8192 pixels"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "65"])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(FACES), "--threads", threads, "--seconds", "1", "--rounds", "2"]) == 2
    assert "--threads 1 to 64" in capsys.readouterr().err


def test_the_threads_of_a_configuration_are_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-c", str(tmp_path / "config.yaml"), "--threads", "2"]) == 2
    assert "--threads needs a MODEL; in a configuration each pipeline has the key threads" in capsys.readouterr().err


def test_quartiles() -> None:
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    assert Spread.of([2.0, 2.0]).share == 0.0


def test_no_wall_is_missing() -> None:
    """No library may start a thread before the process is locked: Landlock's rules would hold for that thread alone."""
    words = [sys.executable, "-m", "edge_infer", "bench", str(FACES), "--seconds", "1", "--rounds", "2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert "the sandbox" not in done.stderr
