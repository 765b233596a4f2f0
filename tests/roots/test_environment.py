"""Commands of root on another user's configuration: code of a model or source finds nothing of root's environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.platform.child_process import own_module
from tests.broker import eventually
from tests.roots.attacker import SOURCE
from tests.running import CLIP, MODEL, ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has an environment to drop")
OTHER = 61400
PICTURE = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"
PACKAGE = """
import ctypes, dataclasses, os, time
import numpy as np

library = ctypes.CDLL(None)
library.getauxval.restype, library.getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
AT_EXECFN = 31  # the strings of the environment lie just below the name of the program


def scan(where):
    top = library.getauxval(AT_EXECFN)
    found = b"HUNTED" in ctypes.string_at(top - 6000, 6000) or any("HUNTED" in name for name in os.environ)
    os.write(2, f"\\nSCANNED {where} {found}\\n".encode())


def attack(where):
    if where == "source opened":
        scan("source")


class Decoder:
    task, classes = "detection", 1

    def __init__(self, layout):
        scan("decoder")

    def __call__(self, tensors):
        from edge_infer.engine.records import Boxes
        return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    @staticmethod
    def recognise(inputs, outputs):
        return None


from edge_infer.config.plan import InputPlan, NmsPlan
Decoder.input, Decoder.nms = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,)), NmsPlan()
"""
SHORT = """

class Short(Recording):
    def __init__(self, options):
        super().__init__(options)
        self.left = 3
"""
ENTRY_POINTS = """\
[edge_infer.decoders]
scanner = scanner_package:Decoder
[edge_infer.sources]
scanner = scanner_package:Short
"""
SCRIPT = "import sys; sys.path[0] = '/'\nfrom edge_infer.cli import main\nsys.exit(main())\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A package of root with a decoder and a source, beside a folder of another user with a configuration."""
    about = tmp_path / "site" / "scanner_package-1.0.dist-info"
    about.mkdir(parents=True)
    (tmp_path / "site" / "scanner_package.py").write_text(PACKAGE + SOURCE + SHORT)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: scanner-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    folder = tmp_path / "box"
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.tflite")
    (folder / "model.yaml").write_text("task: detection\ndecoder: scanner\nlabels: [face]\n")
    (folder / "config.yaml").write_text(
        "device: {id: box, state_dir: state}\nmodels: {m: {file: model.tflite}}\n"
        f"sources: {{cam: {{kind: scanner, file: {CLIP}}}}}\n"
        "pipelines: {p: {source: cam, model: m, publish: every, fps: 10}}\n"
    )
    for each in (folder, *folder.iterdir()):
        os.chown(each, OTHER, OTHER)
    return tmp_path / "site"


def run(site: Path, command: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "HUNTED_X": "HUNTEDSECRET"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True, timeout=180, check=False
    )


def scanned(text: str) -> dict[str, set[str]]:
    """The findings of each place that reported."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("SCANNED "):
            _, where, finding = line.split()
            found.setdefault(where, set()).add(finding)
    return found


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (("replay", "-c", "{config}"), {"decoder", "source"}),
        (("replay", "--compare", "{config}", "{config}"), {"decoder", "source"}),
        (("bench", "-c", "{config}", "--seconds", "1", "--rounds", "2"), {"decoder"}),
        (("cameras", "--grab", "cam", "-o", "{picture}", "-c", "{config}"), {"source"}),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_a_model_of_another_user_finds_no_variable_of_root(
    site: Path, tmp_path: Path, words: tuple[str, ...], places: set[str]
) -> None:
    names = {"config": tmp_path / "box" / "config.yaml", "picture": tmp_path / "picture.png"}
    done = run(site, [sys.executable, "-m", "edge_infer", *(word.format(**names) for word in words)])
    assert done.returncode == 0, done.stderr
    found = scanned(done.stderr)
    assert found.keys() >= places, done.stderr
    assert {each for finding in found.values() for each in finding} == {"False"}, done.stderr


def test_an_evaluation_before_a_package_is_added_finds_no_variable_of_root(site: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(MODEL, package / "model.tflite")
    (package / "manifest.yaml").write_text(
        "name: m\nversion: 1.0.0\nfile: model.tflite\ntask: detection\ndecoder: scanner\nlabels: [face]\n"
        "licence: Apache-2.0\n"
    )
    labels = {
        "images": [{"id": 1, "file_name": PICTURE.name, "width": 512, "height": 512}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [9, 9, 99, 99], "area": 9801, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    words = ["models", "add", str(package), "-c", str(tmp_path / "box" / "config.yaml"), "--at-least", "map50=0"]
    words += ["--evaluate", str(tmp_path / "labels.json"), "--images", str(PICTURE.parent)]
    done = run(site, [sys.executable, "-m", "edge_infer", *words])
    assert done.returncode == 0, done.stderr
    assert scanned(done.stderr)["decoder"] == {"False"}, done.stderr


def test_the_process_of_the_page_gets_no_variable_of_the_user(site: Path, tmp_path: Path) -> None:
    config = tmp_path / "box" / "config.yaml"
    for each in (config.parent, config):
        os.chown(each, 0, 0)
    config.write_text("device: {id: '${HUNTED_X}', state_dir: state}\n")
    environment = {**os.environ, "HUNTED_X": "HUNTEDSECRET", "LC_TIME": "C"}
    command = [sys.executable, "-m", "edge_infer", "page", "-c", str(config), "--socket", str(tmp_path / "page.sock")]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        try:
            assert page.stdout.readline().startswith("ssh -L ")
            children = Path(f"/proc/{page.pid}/task/{page.pid}/children").read_text().split()
            place = Path(f"/proc/{children[0]}/environ")  # empty until the kernel has loaded the program
            found = eventually(place.read_bytes, "its environment").split(b"\0")
        finally:
            page.terminate()
    assert len(children) == 1
    assert b"LC_TIME=C" in found
    assert not any(b"HUNTED" in each for each in found)


@pytest.mark.parametrize(
    ("start", "given"),
    [
        ([sys.executable, "-P", "-m", "edge_infer"], None),
        ([str(Path(sys.executable).parent / "edge-infer")], None),
        (own_module("edge_infer", has_safe_path=False), None),
        ([sys.executable, "-c", SCRIPT], None),
        ([sys.executable, "-"], SCRIPT),
    ],
    ids=["-P", "console script", "starter", "-c", "standard input"],
)
def test_however_python_was_started_the_command_does_the_same(
    site: Path, tmp_path: Path, start: list[str], given: str | None
) -> None:
    if "-P" in start and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    config = str(tmp_path / "box" / "config.yaml")
    done = run(site, [*start, "replay", "-c", config], given)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert scanned(done.stderr)["decoder"] == {"False"}


def test_the_configuration_of_root_keeps_the_variables_of_its_plug_ins(site: Path, tmp_path: Path) -> None:
    for each in (tmp_path / "box", *(tmp_path / "box").iterdir()):
        os.chown(each, 0, 0)
    done = run(site, [sys.executable, "-m", "edge_infer", "replay", "-c", str(tmp_path / "box" / "config.yaml")])
    assert done.returncode == 0, done.stderr
    assert scanned(done.stderr)["source"] == {"True"}
