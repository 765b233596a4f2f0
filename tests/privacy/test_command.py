"""``edge-infer privacy`` as an operator runs it: what it says, and that a leak, or a blind eye, makes it fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from edge_infer.sandbox.other_services import reached
from edge_infer.sandbox.selftest import BUT_SERVICES
from tests.engine.sounds import JOGGING, put
from tests.running import MODEL

CONFIG = f"""\
device: {{id: box, state_dir: state}}
models:
  faces: {{file: {MODEL}}}
sources:
  cam: {{kind: synthetic}}
pipelines:
  faces: {{source: cam, model: faces, fps: 10}}
"""


def privacy(folder: Path, *words: str, before: str = "", config: str = CONFIG) -> tuple[int, str]:
    """Runs the command; ``before`` is code that its process runs first."""
    (folder / "config.yaml").write_text(config)
    code = f"{before}\nimport sys\nfrom edge_infer.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "privacy", "-c", str(folder / "config.yaml"), "--seconds", "2", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an audit of a sound box says."""
    code, output = privacy(tmp_path_factory.mktemp("sound"), "--json")
    assert code == 0, output
    answer: dict[str, Any] = json.loads(output)
    return answer


def test_nothing_is_found_where_nothing_leaks(found: dict[str, Any]) -> None:
    assert (found["passed"], found["hits"], found["elsewhere"], found["silent"]) == (True, [], {}, [])
    assert found["results"]["faces"] > 5
    assert 100 < found["bytes_per_result"]["faces"] < 1024
    assert found["searched"] > found["published"] > 1000


def test_the_bound_of_hidden_data_is_calculated_and_played(found: dict[str, Any]) -> None:
    bound = found["bounds"]["faces"]
    assert 0 < found["channel_bound"] - bound < 4, "the numbers in health"
    assert 0.75 * bound <= found["recovered"]["faces"] <= bound
    assert found["picture_seconds"] == int((7000 - found["burst_bytes"]) / found["channel_bound"])


def test_every_deliberate_leak_was_seen(found: dict[str, Any]) -> None:
    assert len(found["control"]) >= 12
    assert set(found["control"].values()) == {True}


def test_every_packet_was_seen_where_namespaces_can_be_had(found: dict[str, Any]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can count on network namespaces")
    assert found["network"] == "every packet was captured"
    assert found["packets"] > 20
    assert found["control"]["a packet to elsewhere"]


def test_the_walls_are_told(found: dict[str, Any]) -> None:
    no_network = "enforced"
    if reached():  # where this machine runs D-Bus, for example
        no_network = f"engine: enforced; reader cam: {BUT_SERVICES}"
    assert found["walls"]["no_network"] == no_network
    assert "files" in found["walls"]


def test_a_blind_search_fails_the_audit(tmp_path: Path) -> None:
    before = "import edge_infer.audit.search as s\ns.Search.found = lambda self, data: ''"
    code, output = privacy(tmp_path, before=before)
    assert code == 1, output
    assert "MISSED   a payload, raw" in output
    assert output.splitlines()[-1] == "FAILED"


def test_a_leak_on_the_disk_fails_the_audit(tmp_path: Path) -> None:
    before = (
        "import edge_infer.audit.audit as a\nfrom pathlib import Path\nreal = a._watched\n"
        "def watched(plan, canary, state, port):\n"
        "    state.mkdir()\n    (state / 'thumbnail').write_bytes(canary.picture(80, 60, 3))\n"
        "    return real(plan, canary, state, port)\na._watched = watched"
    )
    code, output = privacy(tmp_path, before=before)
    assert code == 1, output
    assert "LEAK     the file state/thumbnail: raw bytes" in output


SENSES = """\
device: {{id: box, state_dir: state}}
models:
  sounds: {{file: {models}/yamnet_audio_classifier_with_metadata.tflite}}
  sine: {{file: sine.tflite}}
  moods: {{file: {models}/nl_classifier_with_regex_tokenizer.tflite}}
sources:
  mic: {{kind: audio, file: quiet.wav}}
  load: {{kind: system, columns: [memory, cpu], rate: 5}}
  letters: {{kind: lines, file: letters.txt}}
pipelines:
  heard: {{source: mic, model: sounds}}
  felt: {{source: load, model: sine}}
  read: {{source: letters, model: moods}}
"""


def test_what_is_heard_felt_and_read_is_audited_too(tmp_path: Path, assets: Path) -> None:
    with wave.open(str(tmp_path / "quiet.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64_000))
    shutil.copy(assets / "models/hello_world_int8.tflite", tmp_path / "sine.tflite")
    manifest = "task: regression\ninput: {features: raw, columns: [1]}\nvalues: [{name: sine}]\n"
    (tmp_path / "sine.yaml").write_text(manifest)
    (tmp_path / "letters.txt").write_text("what a film\n")
    code, output = privacy(tmp_path, "--json", config=SENSES.format(models=assets / "models"))
    assert code == 0, output
    found = json.loads(output)
    assert found["pipelines"] == {"heard": "samples", "felt": "samples", "read": "text"}
    assert (found["passed"], found["hits"], found["silent"]) == (True, [], [])
    assert min(found["results"].values()) >= 1, found["results"]
    assert {"a payload, samples at another rate", "a payload, words in hex"} <= set(found["control"])
    assert "files" in found["walls"]


GESTURES = """\
device: {{id: box, state_dir: state}}
models:
  gestures: {{file: {model}}}
sources:
  wrist: {{kind: csv, file: wrist.pipe, columns: [x, y, z], rate: 20}}
pipelines:
  wand: {{source: wrist, model: gestures}}
"""


def test_a_sensor_gives_as_many_values_as_the_model_takes(tmp_path: Path, assets: Path) -> None:
    os.mkfifo(tmp_path / "wrist.pipe")
    model = put(assets, tmp_path, JOGGING)
    code, output = privacy(tmp_path, "--json", config=GESTURES.format(model=model))
    assert code == 0, output
    found = json.loads(output)
    assert (found["passed"], found["silent"]) == (True, [])
    assert found["results"]["wand"] >= 1


@pytest.mark.parametrize(
    ("leak", "how"), [("words compressed in base64", "words in compressed data in base64"), ("sound", "sound")]
)
def test_words_and_sound_on_the_disk_fail_the_audit(tmp_path: Path, leak: str, how: str) -> None:
    before = (
        "import edge_infer.audit.audit as a\nfrom edge_infer.audit.search import leaks\nreal = a._watched\n"
        "def watched(plan, canary, state, port):\n"
        f"    state.mkdir()\n    (state / 'kept').write_bytes(leaks(canary)[{leak!r}])\n"
        "    return real(plan, canary, state, port)\na._watched = watched"
    )
    code, output = privacy(tmp_path, before=before)
    assert code == 1, output
    assert f"LEAK     the file state/kept: {how}" in output


def test_a_pipeline_that_gives_nothing_is_named_with_the_reason(tmp_path: Path) -> None:
    before = "import edge_infer.audit.audit as a\na.STARTING = 3.0\na.own_module = lambda *_: ['/nowhere/python']"
    code, output = privacy(tmp_path, before=before)
    assert code == 1, output
    (line,) = (line for line in output.splitlines() if line.startswith("results "))
    assert line.startswith("results    faces: 0: its silence shows nothing (source cam is starting: the command ")
    assert "/nowhere/python" in line
    assert output.splitlines()[-1] == "FAILED"


def test_a_wrong_configuration_is_told_as_check_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("fps: 10", "speed: 10"))
    command = [sys.executable, "-m", "edge_infer", "privacy", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "speed" in done.stderr


def test_nothing_leaks_while_drift_is_watched(tmp_path: Path) -> None:
    code, output = privacy(tmp_path, "--json", config=CONFIG + "drift: true\n")
    assert code == 0, output
    found = json.loads(output)
    assert (found["passed"], found["hits"], found["elsewhere"]) == (True, [], {})
    assert found["recovered"]["faces"] <= found["bounds"]["faces"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2", "none", tmp_path], check=True)
    try:
        code, output = privacy(tmp_path, before=f"import tempfile\ntempfile.tempdir = {str(tmp_path)!r}")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    told = "the audit cannot make its temporary folder: No space left on device; free space on its disk"
    assert (code, output) == (3, f"edge-infer: {told}\n")
