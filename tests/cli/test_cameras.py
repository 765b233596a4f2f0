"""``edge-infer cameras``: what is plugged in, and one picture of a configured source."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.cli import main
from edge_infer.snapshot.process import draw_grid
from tests.broker import eventually
from tests.readers.conftest import free_port
from tests.running import PYTHON, ROOT, Daemon, config

SYNTHETIC = "{kind: synthetic, size: 320x240, objects: 0, rotate: 90}"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(config(free_port(), SYNTHETIC))
    return path


def test_a_source_is_opened_directly_where_no_daemon_runs(
    configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    out = configured.with_name("cam.png")
    text = configured.read_text()
    assert "source: cam" in text
    configured.write_text(text.replace("source: cam", "mask: [[[0, 0], [1, 0], [1, 0.5], [0, 0.5]]], source: cam"))
    assert main(["cameras", "--grab", "cam", "-o", str(out), "-c", str(configured)]) == 0
    pixels = cv2.imread(str(out))
    assert pixels is not None
    assert pixels.shape == (320, 240, 3)  # turned, as the pipelines see it
    assert not pixels[:159].any()
    assert pixels[162:].any()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "no daemon runs" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_ask_the_daemon_is_told_so_beside_what_hinders_opening(configured: Path) -> None:
    closed = configured.with_name("run")
    closed.mkdir(mode=0o700)
    configured.chmod(0o600)
    configured.parent.chmod(0o755)
    command = [PYTHON, "-m", "edge_infer", "cameras", "--grab", "cam", "-o", "/dev/shm/none/cam.png", "-c", configured]
    done = subprocess.run(
        command, env={**os.environ, "RUNTIME_DIRECTORY": str(closed)}, user=61777, group=61777, extra_groups=[],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{configured}:1: cannot be read by user 61777" in done.stderr
    assert f"; the daemon may run, but no daemon answers on {closed}/control.sock, or this user may not" in done.stderr


@pytest.mark.parametrize("name", ["cam.png", "cam.jpg"])
def test_a_picture_is_for_its_owner_whatever_lies_in_its_place(configured: Path, name: str) -> None:
    """A file that all may read, and a link to a file of somebody who made it."""
    plain, link, theirs = configured.with_name(f"plain-{name}"), configured.with_name(name), configured.with_name("x")
    plain.touch(0o666)
    plain.chmod(0o666)
    theirs.touch()
    link.symlink_to(theirs)
    with plain.open("rb") as watched:  # opened before there is a picture in it
        for out in (plain, link):
            assert main(["cameras", "--grab", "cam", "--grid", "-o", str(out), "-c", str(configured)]) == 0
            assert not out.is_symlink()
            assert stat.S_IMODE(out.stat().st_mode) == 0o600
            assert cv2.imread(str(out)) is not None
        assert watched.read() == b""
    assert theirs.read_bytes() == b""


def test_the_grid_has_a_line_at_every_tenth() -> None:
    pixels = np.full((400, 600, 3), 128, np.uint8)
    draw_grid(pixels)
    for step in range(1, 10):
        assert (pixels[:, 60 * step] == 255).mean() > 0.8
        assert (pixels[40 * step] == 255).mean() > 0.8
    assert (pixels[20, 590] == 128).all()


def test_the_running_daemon_gives_the_picture_of_its_reader(tmp_path: Path) -> None:
    script = "import sys, time\nwhile True: sys.stdout.buffer.write(bytes([9, 99, 199]) * 3072); time.sleep(0.05)"
    (tmp_path / "camera.py").write_text(script)
    source = f"{{kind: exec, command: [{PYTHON}, {tmp_path / 'camera.py'}], size: 64x48, format: rgb24}}"
    text = config(free_port(), source).replace("fps: 10", "fps: 10, mask: [[[0, 0], [0.25, 0], [0.25, 1], [0, 1]]]")
    with Daemon(tmp_path, text) as daemon:
        eventually(lambda: daemon.status().get("sources", {}).get("cam", {}).get("fps"), "frames", 60.0)
        done = daemon.command("cameras", "--grab", "cam", "-o", "cam.png")
        assert (done.returncode, "from the running daemon" in done.stderr) == (0, True), done.stderr
        pixels = cv2.imread(str(tmp_path / "cam.png"))
        assert stat.S_IMODE((tmp_path / "cam.png").stat().st_mode) == 0o600
        assert pixels.shape == (48, 64, 3)
        assert (pixels[:, 18:] == (199, 99, 9)).all()
        assert not pixels[:, :16].any(), "what a pipeline shall not see is shown to nobody"
        assert daemon.command("cameras", "--grab", "cam", "-o", "grid.jpg", "--grid").returncode == 0
        assert cv2.imread(str(tmp_path / "grid.jpg")).max() > 240
        unknown = daemon.command("cameras", "--grab", "cat", "-o", "cat.png")
        assert (unknown.returncode, "'cat'" in unknown.stderr) == (1, True)
        assert not (tmp_path / "cat.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grab", "cam"], "--grab needs -o FILE"),
        (["--grid"], "need --grab"),
        (["--grab", "cam", "-o", "x.gif"], "must end in .png or .jpg"),
        (["--grab", "cat", "-o", "x.png"], "has no source 'cat'; known: cam"),
    ],
)
def test_wrong_arguments_are_told(
    words: list[str],
    said: str,
    configured: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.chdir(configured.parent)
    assert main(["cameras", *words, "-c", str(configured)]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told(
    configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    out = configured.parent / "none" / "cam.png"
    assert main(["cameras", "--grab", "cam", "-o", str(out), "-c", str(configured)]) == 1
    assert "cannot be written: No such file" in capsys.readouterr().err
