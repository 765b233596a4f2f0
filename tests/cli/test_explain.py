"""``edge-infer explain``: numbers, a sentence, a picture in the file that was named; for files, for a box."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.broker import eventually
from tests.explain.planted import SIDE, noise, planted_detector
from tests.readers.conftest import free_port
from tests.running import MODEL, ROOT, Daemon, config

PICTURE = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"
PATCH = (24, 36, 48, 72)
KEYS = (
    "input", "model", "sha", "task", "answer", "inside", "places", "text", "stopped", "masks", "agreement", "visible",
    "seed", "evidence",
)  # fmt: skip


def run(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", "explain", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=folder)


def facts(*words: object, folder: Path | None = None) -> list[dict[str, Any]]:
    done = run(*words, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a planted detector and a picture."""
    tmp_path.chmod(0o755)
    planted_detector(tmp_path, PATCH)
    cv2.imwrite(str(tmp_path / "noise.png"), noise(1))
    return tmp_path


def test_the_numbers_and_the_sentence(planted: Path) -> None:
    (found,) = facts("planted.tflite", "noise.png", folder=planted)
    assert tuple(found) == KEYS
    assert found["inside"] >= 0.9
    assert found["answer"]["label"] == "thing"
    assert found["answer"]["box"] == pytest.approx([side / SIDE for side in PATCH], abs=0.01)
    assert found["stopped"] in ("agreed", "budget")
    assert len(found["evidence"]["values"]) == len(found["evidence"]["y"]) - 1
    done = run("planted.tflite", "noise.png", folder=planted)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"noise.png: {found['text']}\n"
    assert sorted(path.name for path in planted.iterdir()) == ["noise.png", "planted.tflite", "planted.yaml"]


def test_the_same_seed_gives_the_same_bytes(planted: Path) -> None:
    outcomes = []
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        path = planted / f"{name}.png"
        done = run("planted.tflite", "noise.png", "--json", "--seed", seed, "-o", path, folder=planted)
        assert done.returncode == 0, done.stderr
        outcomes.append((done.stdout.replace(f'"seed": {seed}', ""), path.read_bytes()))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] != outcomes[2][0]


def test_the_picture_shows_heat_in_the_box(tmp_path: Path) -> None:
    path = tmp_path / "why.png"
    tmp_path.chmod(0o755)
    assert run(MODEL.parent, PICTURE, "--masks", "500", "-o", path).returncode == 0
    drawn = cv2.imread(str(path))
    side = drawn.shape[1]
    assert side % cv2.imread(str(PICTURE)).shape[1] == 0, "a small picture is enlarged"
    assert drawn.shape[0] > side, "the sentence is below"
    colored = (drawn[:side].max(axis=2).astype(int) - drawn[:side].min(axis=2)) > 40
    face = colored[int(0.2 * side) : int(0.44 * side), int(0.3 * side) : int(0.54 * side)]
    assert face.mean() > 0.3
    assert colored[int(0.6 * side) :].mean() < 0.1


def test_the_picture_is_drawn_even_if_nobody_reads_the_sentences(assets: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path, both = tmp_path / "why.png", tmp_path / "both.png"
    (tmp_path / "reviews.txt").write_text("What a waste of my time.\nStrongly recommend it!\n")
    words = (assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", "reviews.txt", "--masks", "150", "-o")
    command = [sys.executable, "-m", "edge_infer", "explain", *map(str, words), str(path)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=600, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run(*words, both, folder=tmp_path).returncode == 0
    assert path.read_bytes() == both.read_bytes()


def test_a_chosen_object_is_explained(assets: Path) -> None:
    model = assets / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    words = (model, assets / "images" / "bus.jpg", "--threshold", "0.3", "--masks", "150")
    (best,) = facts(*words)
    (bus,) = facts(*words, "--label", "bus")
    (there,) = facts(*words, "--at", "0.2,0.6")
    assert best["answer"]["label"] == "person"
    assert bus["answer"]["label"] == "bus"
    xmin, ymin, xmax, ymax = there["answer"]["box"]
    assert xmin <= 0.2 <= xmax
    assert ymin <= 0.6 <= ymax


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "name a MODEL and an INPUT, or a source"),
        (("planted.tflite",), 2, "name a MODEL and an INPUT"),
        (("planted.tflite", "noise.png", "--masks", "5"), 2, "--masks is 100 to"),
        (("planted.tflite", "noise.png", "-o", "why.gif"), 2, "-o why.gif: the name must end in .png or .jpg"),
        (("planted.tflite", "noise.png", "-o", "none/why.png"), 2, "-o none/why.png: cannot be created"),
        (("planted.tflite", "noise.png", "--pipeline", "x"), 2, "--pipeline needs --source"),
        (("planted.tflite", "--source", "cam"), 2, "remove MODEL"),
        (("planted.tflite", "noise.png", "--at", "2,3"), 2, "'2,3' is not a point such as 0.5,0.25"),
        (("planted.tflite", "noise.png", "--at", "0.9,0.9"), 1, "noise.png: the model finds nothing at 0.9,0.9"),
        (("planted.tflite", "noise.png", "--at", "0.9,0.9"), 1, "elsewhere is thing 0.891 at 0.38,0.56\n"),
        (("planted.tflite", "noise.png", "--label", "cat"), 1, "does not find 'cat' in this input; it finds thing"),
        (("planted.tflite", "noise.png", "--threshold", "0.95"), 1, "--threshold admits weaker ones"),
        (("planted.tflite", "gone.png"), 1, "gone.png: No such file"),
        (("planted.tflite", "planted.yaml"), 1, "planted.yaml: not a readable picture"),
        (("planted.tflite", "."), 1, ".: Is a directory"),
        (("gone.tflite", "noise.png"), 3, "there is no"),
    ],
)
def test_what_cannot_be_explained_is_told(planted: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(*words, folder=planted)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert not (planted / "why.gif").exists()


def test_the_masks_that_choose_how_much_is_hidden_do_not_count(planted: Path) -> None:
    done = run("planted.tflite", "noise.png", "--masks", "150", folder=planted)
    assert "(all masks used, 54 of them count, their halves agree to" in done.stdout, done


def test_a_recording_that_is_not_there_needs_no_pipe(assets: Path) -> None:
    done = run(assets / "models" / "yamnet_audio_classifier_with_metadata.tflite", "gone.csv")
    assert (done.returncode, done.stderr) == (1, "edge-infer: gone.csv does not exist\n")


def test_an_answer_that_nothing_changes(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    planted_detector(tmp_path, PATCH, gain=0.0, offset=0.8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise(1))
    (found,) = facts("planted.tflite", "noise.png", folder=tmp_path)
    assert (found["stopped"], found["inside"], found["places"]) == ("unchanged", None, [])
    assert "nothing in the input changes the answer thing 0.80" in found["text"]


def test_a_terminal_sees_a_bar_with_the_time_that_is_left(planted: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edge_infer", "explain", str(MODEL.parent), str(PICTURE), "--masks", "500"]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as end, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end) as process:
            assert process.stdout is not None
            said = process.stdout.read()
        shown = b""
        while not shown.endswith(b"\r\x1b[K"):
            shown += terminal.read(4096)
    assert process.returncode == 0
    assert b"of at most 500 masks, at most " in shown
    assert b" s left" in shown
    assert b"face" in said


def test_every_line_of_a_text_is_explained(assets: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    text, path = tmp_path / "reviews.txt", tmp_path / "why.png"
    text.write_text("What a waste of my time.\n\nStrongly recommend it!\n")
    model = assets / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    first, second = facts(model, text, "-o", path)
    assert [first["input"], second["input"]] == [f"{text}:1", f"{text}:3"]
    assert first["places"][0]["where"] == 'in "waste"'
    assert first["evidence"]["words"] == ["What", "a", "waste", "of", "my", "time."]
    assert cv2.imread(str(path)) is not None


@pytest.mark.long
def test_the_running_daemon_gives_a_picture_to_explain(tmp_path: Path) -> None:
    source = f"{{kind: images, path: {PICTURE}, loop: true, realtime: true, every: 200ms}}"
    with Daemon(tmp_path, config(free_port(), source)) as daemon:
        eventually(lambda: daemon.status().get("sources", {}).get("cam", {}).get("fps"), "frames", 60.0)
        done = daemon.command("explain", "--source", "cam", "--json", "-o", "why.png", "--masks", "200", timeout=600.0)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["input"], found["answer"]["label"]) == ("cam", "face")
        assert found["masks"] == 104
        assert cv2.imread(str(tmp_path / "why.png")) is not None
        wrong = daemon.command("explain", "--source", "cat")
        assert (wrong.returncode, "'cat'" in wrong.stderr) == (1, True)
        other = daemon.command("explain", "--source", "cam", "--pipeline", "none")
        assert (other.returncode, "pipelines of source cam" in other.stderr) == (2, True), other.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
def test_a_configuration_of_another_user_leads_root_to_no_model_that_this_user_may_not_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secret = tmp_path / "root"
    secret.mkdir(mode=0o700)
    planted_detector(secret, PATCH)
    box = tmp_path / "box"
    box.mkdir()
    text = config(free_port())
    with Daemon(box, text) as daemon:
        eventually(lambda: daemon.status().get("sources", {}).get("cam", {}).get("fps"), "frames", 60.0)
        (box / "config.yaml").write_text(text.replace(str(MODEL), str(secret / "planted.tflite")))
        words = ("explain", "--source", "cam", "--masks", "100", "--threshold", "0")
        done = daemon.command(*words, timeout=600.0)
        assert done.returncode == 0, done.stderr
        os.chown(box, (box / "state").stat().st_uid, -1)
        done = daemon.command(*words, timeout=600.0)
        assert (done.returncode, f"cannot use {box / 'config.yaml'} as it is" in done.stderr) == (2, True), done.stderr
        assert "planted.tflite cannot be read by" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
def test_root_asks_no_daemon_for_a_picture_that_goes_to_another_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    box, theirs = tmp_path / "box", tmp_path / "theirs"
    for folder in (box, theirs):
        folder.mkdir()
    text = config(free_port(), "{kind: synthetic}")
    with Daemon(box, text, level="info") as daemon:
        eventually(lambda: daemon.status().get("sources", {}).get("cam", {}).get("fps"), "frames", 60.0)
        (theirs / "config.yaml").write_text(text.replace("state_dir: state", f"state_dir: {box}/state"))
        os.chown(theirs, 61400, 61400)
        words = ("--source", "cam", "--masks", "100", "-c", theirs / "config.yaml", "-o", theirs / "why.png")
        done = run(*words)
        assert (done.returncode, "this user may not enter its folder" in done.stderr) == (1, True), done.stderr
        assert not (theirs / "why.png").exists()
        assert "sent a picture" not in daemon.log.read_text()
        (theirs / "config.yaml").chmod(0o666)
        os.chown(theirs, 0, 0)
        done = run(*words)
        assert (done.returncode, "this user may not enter its folder" in done.stderr) == (1, True), done.stderr
        assert "sent a picture" not in daemon.log.read_text()


def test_without_a_daemon_there_is_no_picture_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(free_port()))
    done = run("--source", "cam", "-c", path)
    assert (done.returncode, "no daemon answers" in done.stderr) == (1, True)
