"""Foreign code that floods the kernel with open files in transit keeps no other camera from starting."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_infer.plan.records import SourcePlan
from edge_infer.sandbox import MAX_FILES, MAX_FILES_OF_FOREIGN_CODE
from edge_infer.sandbox.needs import reader_fence
from tests.readers import flooding
from tests.readers.rig import Rig, make_plan, until

ROOM = 20
"""For the files of all other processes of this user."""
WIDTH, HEIGHT = flooding.SIZE


def exec_plan(code: list[str]) -> SourcePlan:
    command = [sys.executable, *code]
    return make_plan("exec", {"command": command, "width": WIDTH, "height": HEIGHT, "format": "gray"})


def flooder(kind: str, said: Path) -> SourcePlan:
    if kind == "exec":
        path = f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); from pathlib import Path"
        return exec_plan(["-c", f"{path}; from tests.readers.flooding import main; main(Path({str(said)!r}))"])
    return make_plan("flooding", {"pause": 0.01}, target=flooding.TARGET)


def test_the_limits_leave_room_for_the_others() -> None:
    assert MAX_FILES_OF_FOREIGN_CODE + flooding.PER_MESSAGE + ROOM < MAX_FILES


@pytest.mark.parametrize("kind", ["exec", "plug-in"])
def test_another_camera_starts_while_foreign_code_floods(tmp_path: Path, kind: str) -> None:
    code = f"import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes({WIDTH * HEIGHT})); time.sleep(0.05)"
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    said = tmp_path / "said"
    with Rig(flooder(kind, said), one) as attacker:
        attacker.frame()
        told = until(lambda: flooded(said if kind == "exec" else attacker.log, attacker), "the flood")
        sent, limit = map(int, told.split()[1:])
        assert limit == MAX_FILES_OF_FOREIGN_CODE
        assert sent + ROOM < MAX_FILES
        with Rig(exec_plan(["-uc", code]), two) as other:
            other.frame()
            assert attacker.alive()


def flooded(file: Path, attacker: Rig) -> str | None:
    attacker.receiver.receive(0.1)
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line for line in lines if line.startswith("FLOOD") and len(line.split()) == 3), None)


def test_a_program_may_open_many_files(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; held = [os.dup(0) for _ in range(150)]\n"
        f"while True:\n sys.stdout.buffer.write(bytes({WIDTH * HEIGHT})); time.sleep(0.05)"
    )
    with Rig(exec_plan(["-uc", code]), tmp_path) as rig:
        rig.frame()


@pytest.mark.parametrize(
    ("kind", "options", "foreign"),
    [
        ("audio", {"device": "default"}, True),
        ("audio", {"file": "/srv/a.wav"}, False),
        ("exec", {"command": ["true"]}, False),  # only its program; the reader is ours
        ("picamera2", {}, True),
        ("somebody-elses", {}, True),
        ("v4l2", {"device": "/dev/video0"}, False),
    ],
)
def test_readers_with_foreign_code_have_fewer(kind: str, options: dict[str, str], foreign: bool) -> None:
    assert reader_fence(SourcePlan("cam", kind, "", True, False, options)).foreign_code == foreign
