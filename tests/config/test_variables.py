"""Variables that a configuration names reach only the process that reads it, also in commands without a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
SPY = """
import os
from edge_infer.config.plan import InputPlan, NmsPlan
from edge_infer.errors import ModelError
seen = sorted(name for name in os.environ if name.startswith("SPIED_"))


class Decoder:
    task = "detection"
    input = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,))
    nms = NmsPlan()
    classes = 1

    def __init__(self, layout):
        raise ModelError(f"the decoder sees {seen}")

    @staticmethod
    def recognise(inputs, outputs):
        return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a plug-in whose decoder and source report the variables that they find, and with a package."""
    (tmp_path / "spy.py").write_text(SPY)
    (tmp_path / "spy_source.py").write_text("import spy\nraise RuntimeError(f'the source sees {spy.seen}')\n")
    about = tmp_path / "spy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[edge_infer.decoders]\nspy = spy:Decoder\n[edge_infer.sources]\nspy = spy_source:Source\n"
    )
    shutil.copyfile(PACKAGE / "face_full_range_int8.tflite", tmp_path / "m.tflite")
    (tmp_path / "m.yaml").write_text("decoder: spy\nlabels: [face]\n")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    return tmp_path


TEXT = """
mqtt: {{host: broker, username: "{user}"}}
models: {{m: {{file: m.tflite}}}}
sources: {{s: {{kind: {kind}}}}}
pipelines: {{p: {{source: s, model: m}}}}
"""


def variables(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "SPIED_USER": "hunter4", "SPIED_OTHER": "hunter5"}


def checked(folder: Path, *words: str, text: str = "") -> str:
    line = [sys.executable, "-m", "edge_infer", "check", "-c", str(folder / "config.yaml"), *words]
    done = subprocess.run(
        line, env=variables(folder), input=text, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "who"), [("synthetic", "decoder"), ("spy", "source")])
def test_check_gives_them_to_no_model_and_no_source(folder: Path, kind: str, who: str) -> None:
    (folder / "config.yaml").write_text(TEXT.format(user="${SPIED_USER}", kind=kind))
    said = checked(folder)
    assert f"the {who} sees ['SPIED_OTHER']" in said, said


def test_those_that_a_draft_names_are_among_them(folder: Path) -> None:
    (folder / "config.yaml").write_text(TEXT.format(user="${SPIED_USER}", kind="synthetic"))
    said = checked(folder, "--draft", "-", text=TEXT.format(user="${SPIED_OTHER}", kind="synthetic"))
    assert "the decoder sees []" in said, said


def added(folder: Path, config: Path) -> str:
    (folder / "m.yaml").write_text("name: m\nversion: 1.0.0\ndecoder: spy\nlabels: [face]\n")
    line = [sys.executable, "-m", "edge_infer", "models", "add", str(folder / "m.tflite"), "-c", str(config)]
    told = {**variables(folder), "STATE_DIRECTORY": str(folder / "state")}
    return subprocess.run(line, env=told, capture_output=True, text=True, check=False, timeout=120).stderr


def test_a_missing_configuration_names_none(folder: Path) -> None:
    said = added(folder, folder / "config.yaml")
    assert "the decoder sees ['SPIED_OTHER', 'SPIED_USER']" in said, said


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes below this one."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into processes that are not dumpable")
def test_privacy_gives_them_to_no_process_but_the_one_that_reads_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {{state_dir: {tmp_path}/state}}\nmqtt: {{host: broker, username: '${{SPIED_USER}}'}}\n"
        f"models: {{m: {{file: {PACKAGE}/face_full_range_int8.tflite}}}}\nsources: {{s: {{kind: synthetic}}}}\n"
        "pipelines: {p: {source: s, model: m}}\n"
    )
    line = [sys.executable, "-m", "edge_infer", "privacy", "-c", str(config), "--seconds", "1"]
    with subprocess.Popen(line, env=variables(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen: dict[str, bool] = {}
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            for pid in descendants(process.pid):
                with suppress(OSError):
                    words, found = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
                    names = [word for word in words.decode().split("\0") if word.startswith("edge_infer.")]
                    if names and found:
                        seen[names[0]] = seen.get(names[0], False) or b"hunter4" in found
            time.sleep(0.02)
        process.kill()
    assert len(seen) > 3, seen
    assert {name for name, told in seen.items() if told} <= {"edge_infer.config"}
