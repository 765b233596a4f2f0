"""Commands that print frames: each pixel format, and every way in which a command can fail."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.contract.codec import JsonValue
from edge_infer.errors import SourceError, WireError
from edge_infer.readers.sources import make_source
from edge_infer.readers.sources.exec import ExecOptions, ExecSource
from tests.readers.rig import Rig, children_of, make_plan, parent_of, until

WIDTH, HEIGHT = 64, 48
COLOR = (40, 90, 200)
"""Blue, green, red."""


def python(script: str) -> list[JsonValue]:
    return [sys.executable, "-c", script]


def printing(data: bytes, folder: Path, times: int = 1_000_000) -> list[JsonValue]:
    """A command that prints the same bytes again and again."""
    (folder / "frame").write_bytes(data)
    script = f"import sys, time; data = open({str(folder / 'frame')!r}, 'rb').read()\n"
    script += f"for _ in range({times}): sys.stdout.buffer.write(data); sys.stdout.flush(); time.sleep(0.02)"
    return python(script)


def options(command: list[JsonValue], layout: str = "gray") -> dict[str, JsonValue]:
    return {"command": command, "width": WIDTH, "height": HEIGHT, "format": layout}


def encoded(layout: str) -> bytes:
    """A picture of one colour as a camera command would print it."""
    bgr = np.full((HEIGHT, WIDTH, 3), COLOR, np.uint8)
    if layout == "bgr24":
        return bgr.tobytes()
    if layout == "rgb24":
        return bgr[:, :, ::-1].tobytes()
    if layout == "gray":
        return np.full((HEIGHT, WIDTH), 77, np.uint8).tobytes()
    planar = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)
    if layout == "yuv420":
        return planar.tobytes()
    chroma = planar[HEIGHT:].reshape(2, -1)
    return planar[:HEIGHT].tobytes() + chroma.T.tobytes()


@pytest.mark.parametrize("layout", ["rgb24", "bgr24", "gray", "yuv420", "nv12"])
def test_every_pixel_format_has_the_right_colours(layout: str, tmp_path: Path) -> None:
    with Rig(make_plan("exec", options(printing(encoded(layout), tmp_path), layout)), tmp_path) as rig:
        frame = rig.frame()
        assert frame.size == (WIDTH, HEIGHT)
        if layout == "gray":
            assert frame.color == "gray"
            assert (frame.pixels == 77).all()
        else:
            bgr = frame.pixels[:, :, ::-1] if frame.color == "rgb" else frame.pixels
            assert np.abs(bgr.astype(int) - COLOR).max() <= 3
        assert rig.ready(lambda ready: ready.number > 2).repeated


@pytest.mark.parametrize("layout", ["yuv420", "nv12"])
def test_odd_sizes_are_refused_where_chroma_is_halved(layout: str) -> None:
    plan = make_plan("exec", {"command": ["x"], "width": 63, "height": 48, "format": layout})
    with pytest.raises(WireError, match=r"sources\.cam: size 63x48 must be even"):
        make_source(plan)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('the camera is on fire')", "ended with exit code 1; it said: the camera is on fire"),
        ("print('short', end='')", "ended with exit code 0 in the middle of a frame (is the size 64x48 right?)"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "was killed by SIGKILL (if nobody sent it, the kernel did for lack of memory",
        ),
        ("import os, sys\nfor i in range(9999): print('line', i, file=sys.stderr)\nsys.exit(3)", "line 9998"),
    ],
)
def test_a_command_that_ends_is_told_with_its_last_words_and_started_again(
    script: str, said: str, tmp_path: Path
) -> None:
    with Rig(make_plan("exec", options(python(script))), tmp_path) as rig:
        assert said in rig.trouble().text
        assert said in rig.trouble().text


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Rig(make_plan("exec", options(["no-such-camera", "-x"])), tmp_path) as rig:
        assert "the command no-such-camera does not exist; install it or give its whole path" in rig.trouble().text


def test_a_command_with_its_whole_path_that_cannot_be_reached(tmp_path: Path) -> None:
    with Rig(make_plan("exec", options([str(tmp_path / "camera")])), tmp_path) as rig:
        assert f"the command {tmp_path}/camera does not exist, or this user may not access it" in rig.trouble().text


def test_a_command_that_hangs_shows_and_is_killed(tmp_path: Path) -> None:
    script = "import sys, time; sys.stdout.write('x' * 100); sys.stdout.flush(); time.sleep(1000)"
    with Rig(make_plan("exec", options(python(script))), tmp_path) as rig:
        rig.report(lambda report: report.busy > 2)
        (child,) = children_of(rig.pid)
        assert "wrote 100 of a frame's 3072 bytes in 7 s" in rig.trouble().text
        until(lambda: True if parent_of(child) is None else None, "the end of the command")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reader_takes_its_command_with_it(number: signal.Signals, tmp_path: Path) -> None:
    with Rig(make_plan("exec", options(printing(encoded("gray"), tmp_path))), tmp_path) as rig:
        rig.frame()
        (child,) = children_of(rig.pid)
        assert os.getsid(child) == child
        assert rig.kill(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        until(lambda: True if parent_of(child) is None else None, "the end of the command")


def test_a_command_ignores_no_signal_that_the_daemon_ignores(tmp_path: Path) -> None:
    """A shell cannot catch a signal that was ignored when it began."""
    numbers = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    shell = ("sh", "-c", f"grep ^SigIgn: /proc/self/status > {tmp_path}/ignored; cat /dev/zero")
    try:
        with ExecSource(ExecOptions(shell, WIDTH, HEIGHT, "gray")) as source:
            assert source.read() is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    ignored = int((tmp_path / "ignored").read_text().split()[1], 16)
    assert [number for number in numbers if ignored >> (number - 1) & 1] == []


def test_the_whole_session_of_a_command_ends_with_the_source(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    shell = ("sh", "-c", f"sleep 1000 & echo $! > {pid}.new; mv {pid}.new {pid}; cat /dev/zero")
    with ExecSource(ExecOptions(shell, WIDTH, HEIGHT, "gray")) as source:
        assert source.read() is not None
        grandchild = int(until(lambda: pid.read_text().strip() or None if pid.exists() else None, "its number"))
        assert parent_of(grandchild) is not None
    source.close()
    until(lambda: True if parent_of(grandchild) is None else None, "the end of its session")
    with pytest.raises(SourceError, match="not running"):
        source.read()


def test_a_command_must_be_one() -> None:
    with pytest.raises(ValueError, match="command is empty"):
        ExecOptions((), WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="invalid size 0x48"):
        ExecOptions(("x",), 0, HEIGHT)


def test_a_command_has_the_network_only_when_told(tmp_path: Path) -> None:
    script = "import socket, sys\ntry: socket.socket(); sys.exit('a socket')\nexcept OSError: sys.exit('no socket')"
    for network, said in ((False, "it said: no socket"), (True, "it said: a socket")):
        plan = make_plan("exec", {**options(python(script)), "network": network}, network=network)
        with Rig(plan, tmp_path) as rig:
            assert said in rig.trouble().text
